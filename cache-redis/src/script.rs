//! The scripts. Each is one step on the server and one round trip: EVALSHA, with the text sent only to a server that
//! does not know it.

use redis::Script;

/// Takes a lease.
///
/// A lease is a token under a key of its own, which an invalidation deletes. Whoever asks while there is one gets the
/// same: any load that began under it began after the last invalidation. The function's epoch is read in the same step,
/// and made where there is none. What is no number of ours (foreign text, another type) is replaced.
///
/// Who takes over gets a new one, which voids the leases before.
///
/// KEYS lease, epoch. ARGV new token, life of the lease in ms, new epoch, life of the epoch in ms, 1 to take over.
/// Returns the token and the epoch.
const LEASE: &str = "
local function number(key, otherwise)
  local text = redis.pcall('GET', key)
  if type(text) == 'string' and #text <= 19 and string.match(text, '^[1-9]%d*$') then
    return text
  end
  return otherwise
end
local token = ARGV[5] == '1' and ARGV[1] or number(KEYS[1], ARGV[1])
local epoch = number(KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
redis.call('SET', KEYS[2], epoch, 'PX', ARGV[4])
return {token, epoch}
";

/// Stores a record if its lease and its function's epoch are still what they were before the load. A lease that is gone
/// (voided, expired, evicted, lost with the server) refuses.
///
/// KEYS record, lease, epoch. ARGV token, epoch, record, life in ms. Returns 1 if it is stored, else 0.
const FILL: &str = "
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] or redis.pcall('GET', KEYS[3]) ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
redis.call('DEL', KEYS[2])
return 1
";

#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) lease: Script,
    pub(crate) fill: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            lease: Script::new(LEASE),
            fill: Script::new(FILL),
        }
    }
}
