//! The commands that the server's user may not run.

use std::fmt;

use cache_core::Error;

use super::shard::InspectedShard;
use crate::errors::failed;
use crate::permissions::{COMMANDS, Purpose, check};

/// A command that the server's user may not run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The name of the command, as an ACL has it.
    pub command: &'static str,
    /// The rules of an ACL for the keys and channels that the command is needed for.
    pub rules: String,
    purpose: Purpose,
}

impl Missing {
    /// Returns `true` if the tier cannot be used at all without the command.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.purpose == Purpose::Caching
    }

    /// Returns `true` if the tier can work without the command, or if the command is for a feature
    /// that programs must turn on.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        matches!(
            self.purpose,
            Purpose::OtherLayouts | Purpose::ManyKeys | Purpose::Audit | Purpose::Observe
        )
    }
}

impl fmt::Display for Missing {
    /// Names what needs the command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.purpose, f)
    }
}

impl InspectedShard {
    /// Returns the rules of an ACL for the keys and channels of all shards of the namespace.
    #[must_use]
    pub fn rules(&self) -> String {
        let keys = self.keys.pattern();
        format!("~{keys} &{keys}")
    }

    /// The rules of an ACL for what a command with this purpose is used on.
    fn rules_for(&self, purpose: Purpose) -> String {
        match purpose {
            // All shards that there can be, which are only read.
            Purpose::OtherLayouts => format!("%R~{}", self.keys.histories()),
            _ => self.rules(),
        }
    }

    /// Asks which commands of the tier the server's user may not run under the names of this shard.
    /// `None` if the server cannot be asked, as some that imitate Redis.
    ///
    /// # Errors
    /// The server does not answer, or the user may not even ask.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn missing_permissions(
        &self,
        is_cluster: bool,
    ) -> Result<Option<Vec<Missing>>, Error> {
        let asked: Vec<_> = COMMANDS
            .iter()
            .filter(|(purpose, ..)| purpose.is_checked())
            .filter(|(purpose, ..)| *purpose != Purpose::Nodes || is_cluster)
            .collect();
        let lacking = check::lacking(&mut self.connection(), &self.keys, &asked).await;
        let lacking = lacking.map_err(|error| failed("ask for the permissions", error))?;
        let missing = |(purpose, command)| Missing {
            command,
            rules: self.rules_for(purpose),
            purpose,
        };
        Ok(lacking.map(|lacking| lacking.into_iter().map(missing).collect()))
    }
}
