redis.call('DEL', KEYS[1], KEYS[2])
local listeners = publish(KEYS[3], 'k:' .. ARGV[1])
return {listeners, audit(KEYS[4], ARGV[2], ARGV[3], ARGV[4])}
