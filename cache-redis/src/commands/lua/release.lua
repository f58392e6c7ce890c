local held, waited = lease(KEYS[1])
if held ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if waited then publish(KEYS[2], ARGV[3] .. ':' .. ARGV[2]) end
return 1
