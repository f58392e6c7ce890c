local held, waited, _, epoch, begun = lease(KEYS[1])
if held ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[4] ~= '0' then
  local life = math.min(ARGV[5], LONGEST_BACK_OFF) + REMEMBERED
  redis.call('SET', KEYS[1], ARGV[4] .. ':' .. epoch .. ':' .. begun .. ':b', 'PX', life)
end
if waited then publish(KEYS[2], ARGV[3] .. ':' .. ARGV[2]) end
return 1
