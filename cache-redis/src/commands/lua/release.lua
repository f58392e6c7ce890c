local held, waited, _, epoch, history = lease(KEYS[1])
if held ~= ARGV[1] then return 0 end
if ARGV[4] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[4] .. ':' .. epoch .. ':' .. history .. ':b', 'PX', ARGV[5])
end
if waited then publish(KEYS[2], ARGV[3] .. ':' .. ARGV[2]) end
return 1
