local written = redis.pcall('HSET', KEYS[1], unpack(ARGV, 2))
if foreign(written) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
