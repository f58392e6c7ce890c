local last = last_message(KEYS[1])
if not last then
  begin_sequence(KEYS[1])
  return 0
end
if last ~= ARGV[1] then return 0 end
if not history(KEYS[2]) then redis.call('SET', KEYS[2], ARGV[2], 'PX', LIFE) end
for at = 3, #KEYS do
  if not number(KEYS[at]) then redis.call('SET', KEYS[at], ARGV[at], 'PX', LIFE) end
end
return 1
