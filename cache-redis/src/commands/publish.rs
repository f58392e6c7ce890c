//! Publishes the state of instances and functions for tools. No other command reads it.

use std::time::Duration;

use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script};
use crate::keys::Keys;
use crate::number::millis;

/// Writes the state of an instance, and removes those that no longer publish from the list.
///
/// KEYS instance, instances, functions, shapes.
/// ARGV id, state, its life in ms, life of the functions and shapes in ms, a field that the
/// instance wrote into the functions, and one that it wrote into the shapes, or nothing.
///
/// Replies with 1 if the fields are to be written: the instance was not in the list, or one of the
/// fields is missing. Data was lost then, or this is the first time.
pub(super) static INSTANCE: Script =
    Script::new(|| script(include_str!("lua/publish_instance.lua")));

/// Writes fields of the functions or the shapes.
///
/// KEYS functions or shapes.
/// ARGV their life in ms, then each field and its value.
///
/// Replies with 1.
pub(super) static FIELDS: Script = Script::new(|| script(include_str!("lua/publish_fields.lua")));

/// Removes fields of the functions.
///
/// KEYS functions.
/// ARGV each field.
///
/// Replies with 1.
pub(super) static REMOVAL: Script = Script::new(|| script(include_str!("lua/remove_fields.lua")));

/// Publishes the state of an instance.
#[derive(Debug)]
pub(crate) struct PublishInstance<'a> {
    pub(crate) id: &'a str,
    pub(crate) state: &'a str,
    /// The life of the state.
    pub(crate) life: Duration,
    /// The life of the functions and shapes.
    pub(crate) life_of_fields: Duration,
    /// A field of the functions that is looked for.
    pub(crate) field: &'a str,
    /// A field of the shapes that is looked for. Empty: none was published.
    pub(crate) shape: &'a str,
}

/// Publishes fields of a hash, at least one.
#[derive(Debug)]
pub(crate) struct PublishFields<'a> {
    /// The name of the hash.
    pub(crate) hash: &'a str,
    pub(crate) life: Duration,
    pub(crate) fields: &'a [(String, String)],
}

/// Removes fields of a hash, at least one.
#[derive(Debug)]
pub(crate) struct RemoveFields<'a> {
    /// The name of the hash.
    pub(crate) hash: &'a str,
    pub(crate) fields: &'a [String],
}

/// The part that is still to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Nothing,
    /// The functions and shapes.
    Fields,
}

impl Command for PublishInstance<'_> {
    type Reply = Missing;

    fn script(&self) -> &'static redis::Script {
        &INSTANCE
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation
            .key(keys.instance(self.id))
            .key(keys.instances())
            .key(keys.functions())
            .key(keys.shapes())
            .arg(self.id)
            .arg(self.state)
            .arg(millis(self.life))
            .arg(millis(self.life_of_fields))
            .arg(self.field)
            .arg(self.shape);
    }

    fn parse(reply: Value) -> Result<Missing, RedisError> {
        Ok(match typed(reply)? {
            true => Missing::Fields,
            false => Missing::Nothing,
        })
    }
}

impl Command for PublishFields<'_> {
    type Reply = ();

    fn script(&self) -> &'static redis::Script {
        &FIELDS
    }

    fn write(self, _: &Keys, invocation: &mut Invocation) {
        invocation.key(self.hash).arg(millis(self.life));
        for (field, value) in self.fields {
            invocation.arg(field).arg(value);
        }
    }

    fn parse(reply: Value) -> Result<(), RedisError> {
        typed::<i64>(reply).map(drop)
    }
}

impl Command for RemoveFields<'_> {
    type Reply = ();

    fn script(&self) -> &'static redis::Script {
        &REMOVAL
    }

    fn write(self, _: &Keys, invocation: &mut Invocation) {
        invocation.key(self.hash);
        for field in self.fields {
            invocation.arg(field);
        }
    }

    fn parse(reply: Value) -> Result<(), RedisError> {
        typed::<i64>(reply).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{MINUTE, TestServer};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn instance<'a>(id: &'a str, state: &'a str) -> PublishInstance<'a> {
        PublishInstance {
            id,
            state,
            life: MINUTE,
            life_of_fields: DAY,
            field: "f:1",
            shape: "",
        }
    }

    async fn publish_function(server: &mut TestServer) {
        let hash = server.keys.functions();
        let fields = [("f:1".to_owned(), "{}".to_owned())];
        let command = PublishFields {
            hash: &hash,
            life: DAY,
            fields: &fields,
        };
        server.send(command).await;
    }

    #[tokio::test]
    async fn instance_learns_that_its_fields_are_missing_first_and_after_a_loss() {
        let mut server = TestServer::start().await;
        assert_eq!(server.send(instance("a", "1")).await, Missing::Fields);
        publish_function(&mut server).await;
        assert_eq!(server.send(instance("a", "2")).await, Missing::Nothing);
        let key = server.keys.instance("a");
        assert_eq!(server.text(&key).await, "2");

        let functions = server.keys.functions();
        server.ask::<()>(&["DEL", &functions]).await;
        assert_eq!(server.send(instance("a", "3")).await, Missing::Fields);
        publish_function(&mut server).await;
        server.ask::<()>(&["FLUSHALL"]).await;
        publish_function(&mut server).await;
        assert_eq!(server.send(instance("a", "4")).await, Missing::Fields);
    }

    #[tokio::test]
    async fn instance_learns_that_its_layout_alone_is_missing() {
        let mut server = TestServer::start().await;
        let published = || PublishInstance {
            shape: "01",
            ..instance("a", "1")
        };
        server.send(instance("a", "1")).await;
        publish_function(&mut server).await;
        assert_eq!(server.send(instance("a", "1")).await, Missing::Nothing);
        assert_eq!(server.send(published()).await, Missing::Fields);
        let shapes = server.keys.shapes();
        server.ask::<()>(&["HSET", &shapes, "01", "{}"]).await;
        assert_eq!(server.send(published()).await, Missing::Nothing);
        server.ask::<()>(&["DEL", &shapes]).await;
        // Another instance has written its own layouts since.
        server.ask::<()>(&["HSET", &shapes, "02", "{}"]).await;
        assert_eq!(server.send(published()).await, Missing::Fields);
        server.ask::<()>(&["SET", &shapes, "foreign"]).await;
        assert_eq!(server.send(published()).await, Missing::Fields);
    }

    #[tokio::test]
    async fn fields_are_removed_and_others_stay() {
        let mut server = TestServer::start().await;
        publish_function(&mut server).await;
        let functions = server.keys.functions();
        server.ask::<()>(&["HSET", &functions, "g:1", "{}"]).await;
        let fields = ["f:1".to_owned(), "h:1".to_owned()];
        let command = RemoveFields {
            hash: &functions,
            fields: &fields,
        };
        server.send(command).await;
        let left: Vec<String> = server.ask(&["HKEYS", &functions]).await;
        assert_eq!(left, ["g:1"]);
    }

    #[tokio::test]
    async fn everything_that_is_published_has_a_life() {
        let mut server = TestServer::start().await;
        publish_function(&mut server).await;
        server.send(instance("a", "1")).await;
        let keys = &server.keys;
        let lives = [
            (keys.instance("a"), MINUTE),
            (keys.instances(), MINUTE),
            (keys.functions(), DAY),
        ];
        for (key, life) in lives {
            let left: i64 = server.ask(&["PTTL", &key]).await;
            let range = life.as_millis() as i64 / 2..=life.as_millis() as i64;
            assert!(range.contains(&left), "{key}: {left}");
        }
    }

    #[tokio::test]
    async fn instance_that_no_longer_publishes_is_removed_from_the_list() {
        let mut server = TestServer::start().await;
        let instances = server.keys.instances();
        server.ask::<()>(&["ZADD", &instances, "1", "gone"]).await;
        server.send(instance("a", "1")).await;
        let left: Vec<String> = server.ask(&["ZRANGE", &instances, "0", "-1"]).await;
        assert_eq!(left, ["a"]);
    }

    #[tokio::test]
    async fn foreign_values_are_replaced() {
        let mut server = TestServer::start().await;
        let names = [
            server.keys.functions(),
            server.keys.instances(),
            server.keys.instance("a"),
        ];
        for name in &names[..2] {
            server.ask::<()>(&["SET", name, "foreign"]).await;
        }
        server.ask::<()>(&["LPUSH", &names[2], "foreign"]).await;
        assert_eq!(server.send(instance("a", "1")).await, Missing::Fields);
        publish_function(&mut server).await;
        assert_eq!(server.send(instance("a", "1")).await, Missing::Nothing);
    }
}
