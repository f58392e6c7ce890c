local record = redis.pcall('GETRANGE', KEYS[1], 0, 83)
if type(record) ~= 'string' then
  record = false
elseif string.sub(record, 77, 84) ~= ARGV[1] then
  record = redis.call('GETRANGE', KEYS[1], 0, ARGV[2])
end
return {record, text(KEYS[2]), text(KEYS[3])}
