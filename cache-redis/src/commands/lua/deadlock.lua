local awaited = lease(KEYS[1])
if not awaited then return 'absent' end
local held = {}
for at = 2, #KEYS, 2 do
  local token = ARGV[at / 2 + 1]
  if lease(KEYS[at]) == token then
    held[KEYS[at]] = KEYS[at + 1]
    local edge = token .. ':' .. awaited
    if type(redis.pcall('HSET', KEYS[at + 1], KEYS[1], edge)) ~= 'number' then
      redis.call('DEL', KEYS[at + 1])
      redis.call('HSET', KEYS[at + 1], KEYS[1], edge)
    end
    redis.call('PEXPIRE', KEYS[at + 1], ARGV[1])
  end
end
local open, seen = {KEYS[1]}, {}
while #open > 0 do
  local at = table.remove(open)
  if held[at] then
    for _, waits in pairs(held) do redis.call('HDEL', waits, KEYS[1]) end
    return 'present'
  end
  if not seen[at] then
    seen[at] = true
    local token = lease(at)
    local waits = redis.call('HGETALL', (string.gsub(at, '#lease$', '#waits')))
    for index = 1, #waits, 2 do
      local own, other = string.match(waits[index + 1], '^(%d+):(%d+)$')
      if own == token and other and lease(waits[index]) == other then open[#open + 1] = waits[index] end
    end
  end
end
return 'absent'
