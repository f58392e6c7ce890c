redis.call('DEL', KEYS[1])
publish(KEYS[2], 'e:' .. ARGV[1])
return 1
