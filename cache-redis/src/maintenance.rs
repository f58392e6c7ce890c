//! Keeps what this instance holds at the server: guards, leases, and the proof that the server
//! takes writes.

use std::time::Duration;

use cache_core::tier::kit::{ReturnedLease, silence};
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use crate::commands::guard::{EndGuard, GuardedKey, PlaceGuard};
use crate::commands::release::Release;
use crate::commands::renew::Renew;
use crate::commands::{self, PORTION};
use crate::leases::RedisLease;
use crate::number::millis;
use crate::permissions::Purpose;
use crate::server;
use crate::session::{Link, RedisSession};

/// The period of the writes that prove that the server takes writes: a primary that was replaced
/// may still answer reads.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

impl RedisSession {
    fn placement<'a>(&'a self, number: u64, key: &'a GuardedKey) -> PlaceGuard<'a> {
        PlaceGuard {
            key,
            number,
            life: self.settings.lease_time,
            audit: self.settings.audit.as_ref(),
        }
    }

    /// Places a guard.
    pub(crate) async fn place_guard(
        &self,
        mut link: Link,
        number: u64,
        key: &GuardedKey,
    ) -> Result<(), RedisError> {
        let until = Instant::now() + self.settings.lease_time;
        let placement = self.placement(number, key);
        let placement = commands::send(&mut link.data, &self.keys, placement).await?;
        self.guards
            .placed([(number, placement)], link.number, until);
        Ok(())
    }

    /// Renews all guards. Over a new link, this places them again.
    pub(crate) async fn renew_guards(&self, link: &Link) -> Result<(), RedisError> {
        if self.permissions.lacks(Purpose::WriteGuards) {
            return Ok(());
        }
        for portion in self.guards.to_renew().chunks(PORTION) {
            // A guard that has ended since the list was made must not be placed again.
            let held = |(number, _): &&(u64, GuardedKey)| self.guards.holds(*number);
            let portion: Vec<_> = portion.iter().filter(held).collect();
            let until = Instant::now() + self.settings.lease_time;
            let renewals = portion
                .iter()
                .map(|(number, key)| self.placement(*number, key));
            let mut data = link.data.clone();
            let placements = commands::send_all(&mut data, &self.keys, renewals).await?;
            let numbers = portion.iter().map(|(number, _)| *number);
            self.guards
                .placed(numbers.zip(placements), link.number, until);
        }
        Ok(())
    }

    /// Ends guards. A guard whose end does not reach the server expires by itself.
    pub(crate) async fn end_guards(&self, link: &Link, ended: &[(u64, GuardedKey)]) {
        // Invalidate first: otherwise another caller could store a record between the two.
        let _ = self.flush(link).await;
        for portion in ended.chunks(PORTION) {
            let ends = portion.iter().map(|(number, key)| EndGuard {
                key,
                number: *number,
            });
            let mut data = link.data.clone();
            let _ = commands::send_all(&mut data, &self.keys, ends).await;
        }
    }

    /// Releases leases. A lease whose release does not reach the server expires by itself.
    pub(crate) async fn release_leases(&self, link: &Link, returned: &[ReturnedLease<RedisLease>]) {
        for portion in returned.chunks(PORTION) {
            let releases = portion.iter().map(|returned| Release {
                lease: &returned.lease.name,
                token: returned.token,
                digest: returned.lease.digest,
                reason: returned.reason,
            });
            let mut data = link.data.clone();
            let _ = commands::send_all(&mut data, &self.keys, releases).await;
        }
    }

    /// Renews leases. One that is not renewed expires, and its fill is refused.
    pub(crate) async fn renew_leases(&self, link: &Link) -> Result<(), RedisError> {
        for portion in self.leases.to_renew().chunks(PORTION) {
            let renewals = portion.iter().map(|(token, lease)| Renew {
                lease: &lease.name,
                token: *token,
                life: self.settings.lease_time,
            });
            let mut data = link.data.clone();
            commands::send_all(&mut data, &self.keys, renewals).await?;
        }
        Ok(())
    }

    /// Writes to the server, because a primary that was replaced may still answer reads; reads its
    /// clock again, which may have been set; and checks the permissions if the server refused
    /// something.
    pub(crate) async fn heartbeat(&self, link: &Link) -> Result<(), RedisError> {
        let mut data = link.data.clone();
        let mut clock = data.clone();
        let time = redis::cmd("TIME");
        // On one connection, and so in one round trip.
        let ((), time): ((), (u64, u64)) =
            tokio::try_join!(self.heartbeat_on(&mut data), time.query_async(&mut clock))?;
        self.set_clock(server::millis_of(time));
        let permitted = self.check_permissions_in_doubt(&mut data).await;
        // Without a permission for caching the link is given up, and the next attempt reports why.
        permitted.map_err(|error| std::io::Error::other(error).into())
    }

    /// Writes to the server. A refusal because it is full still proves that it is a primary.
    pub(crate) async fn heartbeat_on(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let written: Result<(), RedisError> = redis::cmd("SET")
            .arg(self.keys.heartbeat())
            .arg(1)
            .arg("PX")
            .arg(millis(HEARTBEAT * 10))
            .query_async(connection)
            .await;
        written.or_else(|error| match error.code() {
            Some("OOM") => Ok(()),
            _ => Err(error),
        })
    }

    /// The time after which a link is lost if a request that no call waits for has no reply.
    pub(crate) fn silence(&self) -> Duration {
        silence(self.settings.staleness_bound, self.settings.time_limit)
    }
}
