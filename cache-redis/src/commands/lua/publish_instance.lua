local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
local added = redis.pcall('ZADD', KEYS[2], now, ARGV[1])
if foreign(added) then
  redis.call('DEL', KEYS[2])
  added = redis.call('ZADD', KEYS[2], now, ARGV[1])
end
redis.pcall('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local known = redis.pcall('HMGET', KEYS[3], ARGV[5])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('PEXPIRE', KEYS[4], ARGV[4])
local shape = ARGV[6] == '' or redis.pcall('HMGET', KEYS[4], ARGV[6])[1]
if added == 1 or not known[1] or not shape then return 1 end
return 0
