local known, identity = string.match(text(KEYS[1]), '^([1-9]%d*):(.*)$')
if known then
  local shards = string.match(identity, '#(%d+)$')
  if shards ~= string.match(ARGV[1], '#(%d+)$') then return {'0', shards or '1', 2} end
elseif ARGV[4] == '0' then
  return {'0', '', 3}
end
local fresh = 0
local last = tonumber(last_message(KEYS[2]) or '')
local went_back = last and last < tonumber(ARGV[3])
if went_back then redis.call('DEL', KEYS[2]) end
if identity ~= ARGV[1] or went_back then
  fresh = 1
  known = ARGV[2]
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], known .. ':' .. ARGV[1], 'PX', LIFE)
  publish(KEYS[2], 'h:' .. known)
else
  redis.call('PEXPIRE', KEYS[1], LIFE)
  if not last then begin_sequence(KEYS[2]) end
end
return {known, text(KEYS[2]), fresh}
