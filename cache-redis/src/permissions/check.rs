//! Asks the server for the permissions of its user, and reports those that are missing.

use std::sync::atomic::Ordering;

use cache_core::tier::kit::lock;
use cache_core::{Error, ErrorKind};
use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::{COMMANDS, Purpose, named};
use crate::commands;
use crate::commands::permissions::{CheckPermissions, Refused};
use crate::errors::{self, failed};
use crate::keys::Keys;
use crate::session::RedisSession;

impl RedisSession {
    /// Asks the server which commands its user may not run.
    ///
    /// A server without `redis.acl_check_cmd` (Redis before 7.0, some that imitate it) cannot be
    /// asked; there a refusal shows when a command is used.
    ///
    /// # Errors
    /// Names the commands without which no link can be used.
    pub(crate) async fn check_permissions(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Error> {
        self.permissions.is_doubtful.store(false, Ordering::Relaxed);
        let has_audit = self.settings.audit.is_some();
        let asked: Vec<_> = COMMANDS
            .iter()
            .filter(|(purpose, ..)| purpose.is_checked())
            .filter(|(purpose, ..)| *purpose != Purpose::Audit || has_audit)
            .filter(|(purpose, ..)| *purpose != Purpose::Observe || self.settings.observe.is_some())
            .filter(|(purpose, ..)| *purpose != Purpose::Nodes || self.locator.has_cluster())
            .collect();
        let lacking = lacking(connection, &self.keys, &asked)
            .await
            .map_err(|error| failed("ask for the permissions of the server's user", error))?
            .unwrap_or_default();
        let before = std::mem::replace(&mut *self.permissions.lock(), lacking.clone());
        if let Some(error) = self.missing(Purpose::Caching) {
            return Err(error);
        }
        let lacked_tags = before.iter().any(|(lacked, _)| *lacked == Purpose::Tags);
        if lacked_tags && !self.permissions.lacks(Purpose::Tags) {
            self.bus.mirror.want();
        }
        if lacking != before {
            self.report_unusable();
        }
        Ok(())
    }

    /// Warns of the features that cannot be used, of each once for all shards.
    fn report_unusable(&self) {
        let unusable = self.unusable();
        let mut reported = lock(&self.reported.unusable);
        if unusable.is_empty() {
            // A permission that is taken again is reported again.
            reported.clear();
        }
        let new: Vec<_> = unusable
            .into_iter()
            .filter(|reason| reported.insert(reason.clone()))
            .collect();
        drop(reported);
        for reason in new {
            tracing::warn!(
                target: "multi_tier_cached::redis",
                shard = self.shard_in_log(),
                address = self.tried(),
                "the server's user lacks permissions: {reason}"
            );
        }
    }

    /// Checks again if the server refused something since the last check.
    pub(crate) async fn check_permissions_in_doubt(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Error> {
        if self.permissions.is_doubtful.load(Ordering::Relaxed) {
            self.check_permissions(connection).await?;
        }
        Ok(())
    }

    /// The error of a feature whose commands the user may not run.
    pub(crate) fn missing(&self, purpose: Purpose) -> Option<Error> {
        let lacking = self.permissions.lock();
        let commands: Vec<&str> = lacking
            .iter()
            .filter(|(lacking, _)| *lacking == purpose)
            .map(|(_, command)| *command)
            .collect();
        drop(lacking);
        if commands.is_empty() {
            return None;
        }
        let grants: String = commands
            .iter()
            .map(|command| format!(" +{command}"))
            .collect();
        Some(Error::new(
            ErrorKind::Configuration,
            format!(
                "Redis cannot be used for {purpose}: its user `{user}` may not run {commands} under \
                 `{keys}`; help: ACL SETUSER {user}{grants} ~{keys} &{keys}",
                user = self.user(),
                commands = commands.join(", "),
                keys = self.keys.pattern(),
            ),
        ))
    }

    /// The features that cannot be used, each with the reason.
    pub(crate) fn unusable(&self) -> Vec<String> {
        let all = [
            Purpose::Nodes,
            Purpose::NestedLoads,
            Purpose::Tags,
            Purpose::WriteGuards,
            Purpose::InvalidateMatching,
            Purpose::Replicated,
            Purpose::Audit,
            Purpose::Observe,
        ];
        let missing = all.into_iter().filter_map(|purpose| self.missing(purpose));
        missing.map(|error| error.to_string()).collect()
    }

    /// Adds the user's name to a refusal that the server gave before its permissions were known.
    pub(crate) fn with_user(&self, error: Error) -> Error {
        if errors::code_of(&error) != Some("NOPERM") {
            return error;
        }
        let what = format!(
            "user `{}` of Redis lacks a permission; help: the docs of `Redis` list them",
            self.user()
        );
        Error::with_source(ErrorKind::Configuration, what, error)
    }

    fn user(&self) -> String {
        self.locator.user()
    }
}

/// Asks which of these commands the server's user may not run. `None` if the server cannot be
/// asked.
pub(crate) async fn lacking(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    asked: &[&(Purpose, &'static str, &'static str)],
) -> Result<Option<Vec<(Purpose, &'static str)>>, RedisError> {
    let words = |call: &str| call.split(' ').map(|word| named(keys, word)).collect();
    let check = CheckPermissions {
        calls: asked.iter().map(|(_, _, call)| words(call)).collect(),
    };
    let Refused(refused) = commands::send(connection, keys, check).await?;
    let named = |at: usize| {
        let (purpose, command, _) = **asked.get(at)?;
        Some((purpose, command))
    };
    Ok(refused.map(|refused| refused.into_iter().filter_map(named).collect()))
}
