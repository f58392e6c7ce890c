redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', LIFE)
local listeners = publish(KEYS[2], 'e:' .. ARGV[2])
return {listeners, audit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])}
