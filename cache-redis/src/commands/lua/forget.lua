redis.call('DEL', KEYS[1])
return publish(KEYS[2], 'e:' .. ARGV[1])
