//! Asks which commands the server's user may not run.

use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script};
use crate::keys::Keys;

/// Asks for the permissions of commands without running them.
///
/// KEYS heartbeat.
/// ARGV for each command the number of its words, and its words.
///
/// Replies with the indices of the commands that are refused or unknown. A server without
/// `redis.acl_check_cmd` cannot be asked, and replies with nothing.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/permissions.lua")));

/// Asks which of these calls would be refused.
#[derive(Debug)]
pub(crate) struct CheckPermissions {
    /// The calls, each in words.
    pub(crate) calls: Vec<Vec<String>>,
}

/// The indices of the calls that the user may not make; `None` if the server cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Option<Vec<usize>>);

impl Command for CheckPermissions {
    type Reply = Refused;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation.key(keys.heartbeat());
        for words in self.calls {
            invocation.arg(words.len()).arg(words);
        }
    }

    fn parse(reply: Value) -> Result<Refused, RedisError> {
        typed(reply).map(Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::TestServer;

    #[tokio::test]
    async fn calls_that_the_user_may_not_make_are_named_by_their_index() {
        let mut server = TestServer::start().await;
        let check = || {
            let calls = ["get a", "set a 1", "unlink a b", "nonsense"];
            let words = |call: &str| call.split(' ').map(str::to_owned).collect();
            CheckPermissions {
                calls: calls.map(words).to_vec(),
            }
        };
        assert_eq!(server.send(check()).await, Refused(Some(vec![3])));
        server
            .ask::<()>(&["ACL", "SETUSER", "default", "-set", "-unlink"])
            .await;
        assert_eq!(server.send(check()).await, Refused(Some(vec![1, 2, 3])));
        assert_eq!(server.text("a").await, "", "nothing was run");
    }
}
