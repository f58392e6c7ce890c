//! Has every instance forget a function.

use cache_core::tier::FunctionKey;
use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script};
use crate::keys::Keys;

/// Has every instance drop what its memory has of a function. The function's records stay.
///
/// The heartbeat is deleted because the first write of a script on a full server must be one that
/// takes no memory. It is written again within a second.
///
/// KEYS heartbeat, sequence.
/// ARGV digest of the function, channel.
///
/// Replies with the number of clients that receive the message.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/forget.lua")));

/// Publishes that a function was invalidated.
#[derive(Debug)]
pub(crate) struct Forget<'a> {
    pub(crate) function: &'a FunctionKey,
}

impl Command for Forget<'_> {
    /// The number of clients that receive the message.
    type Reply = u64;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation
            .key(keys.heartbeat())
            .key(keys.sequence())
            .arg(self.function.digest)
            .arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<u64, RedisError> {
        typed(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn forget_notifies_all_instances_and_deletes_no_record() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let [record, heartbeat] = [server.keys.record(&key), server.keys.heartbeat()];
        server
            .ask::<()>(&["MSET", &record, "record", &heartbeat, "1"])
            .await;
        let function = &key.function;
        assert_eq!(server.send(Forget { function }).await, 1);
        assert_eq!(server.messages().await, [format!("e:{}", function.digest)]);
        assert_eq!(server.text(&record).await, "record");
        assert_eq!(server.text(&heartbeat).await, "");
    }
}
