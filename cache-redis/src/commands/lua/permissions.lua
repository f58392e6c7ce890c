if not redis.acl_check_cmd then return false end
local refused = {}
local at, index = 1, 0
while at <= #ARGV do
  local size = tonumber(ARGV[at])
  local known, allowed = pcall(redis.acl_check_cmd, unpack(ARGV, at + 1, at + size))
  if not (known and allowed) then table.insert(refused, index) end
  at, index = at + size + 1, index + 1
end
return refused
