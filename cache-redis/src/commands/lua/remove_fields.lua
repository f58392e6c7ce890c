redis.pcall('HDEL', KEYS[1], unpack(ARGV))
return 1
