redis.call('DEL', unpack(KEYS, 2))
publish(KEYS[1], 'k:' .. ARGV[1])
return 1
