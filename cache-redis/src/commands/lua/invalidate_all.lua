redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'PX', LIFE)
local listeners = publish(KEYS[2], 'h:' .. ARGV[1])
return {listeners, audit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])}
