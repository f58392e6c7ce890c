local identity = string.match(text(KEYS[1]), '^[1-9]%d*:(.*)$')
if not identity then return {0, 1} end
if string.match(identity, '#(%d+)$') ~= string.match(ARGV[2], '#(%d+)$') then
  return redis.error_reply('OTHERLAYOUT the history was begun for another number of shards')
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'PX', LIFE)
local listeners = publish(KEYS[2], 'h:' .. ARGV[1])
return {listeners, audit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])}
