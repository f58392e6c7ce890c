local held, waited = lease(KEYS[2])
if history(KEYS[4]) ~= ARGV[3] then return 'history' end
if number(KEYS[3]) ~= ARGV[2] then return 'function' end
if held ~= ARGV[1] then return 'lease' end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
redis.call('DEL', KEYS[2])
if waited then publish(KEYS[5], 'f:' .. ARGV[6]) end
return 'stored'
