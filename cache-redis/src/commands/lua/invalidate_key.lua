redis.call('DEL', KEYS[1], KEYS[2])
publish(KEYS[3], 'k:' .. ARGV[1])
audit(KEYS[4], ARGV[2], ARGV[3], ARGV[4])
return 1
