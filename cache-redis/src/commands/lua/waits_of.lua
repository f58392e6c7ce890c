local found = {}
for at = 1, #KEYS, 2 do
  local token = ARGV[(at + 1) / 2]
  if lease(KEYS[at]) == token then
    local waits = redis.pcall('HGETALL', KEYS[at + 1])
    for index = 1, #waits, 2 do
      local own, awaited = string.match(waits[index + 1], '^(%d+):([%d:]+)$')
      if own == token then
        found[#found + 1] = waits[index]
        found[#found + 1] = awaited
      end
    end
  end
end
return found
