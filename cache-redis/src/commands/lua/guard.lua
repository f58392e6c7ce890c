local score = redis.pcall('ZSCORE', KEYS[3], ARGV[1])
if foreign(score) then redis.call('DEL', KEYS[3]) end
local is_new = type(score) ~= 'string'
if is_new then redis.call('DEL', KEYS[1], KEYS[2]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
if is_new then
  publish(KEYS[4], 'k:' .. ARGV[3])
  audit(KEYS[5], ARGV[4], ARGV[5], ARGV[6])
  return 1
end
return 0
