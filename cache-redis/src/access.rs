//! Settings of connections that are not in an address.

use std::fmt;
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{ConnectionAddr, ConnectionInfo, ProtocolVersion};

use crate::credentials::CredentialsSource;
use crate::transport::Pem;

/// Idle time after which TCP probes a connection. Routers forget a connection that is idle for some
/// minutes.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The settings of connections that are not in an address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: Option<i64>,
    pub(crate) tls: bool,
    pub(crate) sentinel_user: Option<String>,
    pub(crate) sentinel_password: Option<Secret>,
    pub(crate) credentials: Option<CredentialsSource>,
    pub(crate) root_certificate: Option<Pem>,
}

impl Access {
    /// # Errors
    /// A setting would be ignored.
    pub(crate) fn check(&self, has_sentinels: bool) -> Result<(), Error> {
        let for_sentinels = self.sentinel_user.is_some() || self.sentinel_password.is_some();
        if for_sentinels && !has_sentinels {
            return Err(configuration(
                "a user or a password of sentinels is set, but Redis has no sentinels",
                "name the sentinels with `Redis::sentinel`, or use `Redis::user` and \
                 `Redis::password`",
            ));
        }
        if self.credentials.is_some() && self.user.is_some() {
            return Err(configuration(
                "`Redis::credentials` and `Redis::user` are both set",
                "let the function of `credentials` return the user, or leave it out",
            ));
        }
        for (user, password, setting) in [
            (&self.user, &self.password, "Redis::user"),
            (
                &self.sentinel_user,
                &self.sentinel_password,
                "Redis::sentinel_user",
            ),
        ] {
            if user.is_some() && password.is_none() {
                return Err(configuration(
                    format!("`{setting}` has no password"),
                    "set the password of the user as well",
                ));
            }
        }
        if self.credentials.is_some() && self.password.is_some() {
            return Err(configuration(
                "`Redis::credentials` and a password of Redis are both set",
                "let the function of `credentials` return the password, or leave it out",
            ));
        }
        #[cfg(feature = "tls")]
        if let Some(root) = &self.root_certificate {
            crate::transport::check_root(root).map_err(|error| {
                let problem = "the certificate of `Redis::tls_root_certificate` cannot be read";
                Error::with_source(ErrorKind::Configuration, problem, error)
            })?;
        }
        if self.tls && cfg!(not(feature = "tls")) {
            return Err(configuration(
                "`Redis::tls` is set, but TLS is not compiled in",
                "turn on the feature `tls`",
            ));
        }
        Ok(())
    }

    /// Adds the settings to the address of a server.
    pub(crate) fn apply(&self, info: ConnectionInfo) -> Result<ConnectionInfo, Error> {
        let mut redis = info.redis_settings().clone();
        let has_own = redis.username().is_some() || redis.password().is_some();
        if has_own && (self.password.is_some() || self.credentials.is_some()) {
            return Err(configuration(
                format!(
                    "the address of Redis at {} has a user or a password, and another one is set",
                    info.addr()
                ),
                "leave them out of the address, or do not set `Redis::password` and \
                 `Redis::credentials`",
            ));
        }
        if let Some(database) = self.database {
            if redis.db() != 0 && redis.db() != database {
                return Err(configuration(
                    format!(
                        "the address of Redis names the database {}, and `Redis::database` the \
                         database {database}",
                        redis.db()
                    ),
                    "leave one of them out",
                ));
            }
            redis = redis.set_db(database);
        }
        if let Some(user) = &self.user {
            redis = redis.set_username(user);
        }
        if let Some(Secret(password)) = &self.password {
            redis = redis.set_password(password);
        }
        let addr = match info.addr().clone() {
            ConnectionAddr::Tcp(host, port) if self.tls => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            ConnectionAddr::Unix(_) if self.tls => {
                return Err(configuration(
                    "`Redis::tls` is set, and the address of Redis is a socket of this machine",
                    "leave out `Redis::tls`",
                ));
            }
            other => other,
        };
        // RESP3, because the channel's connection carries pushed messages besides replies.
        let redis = redis.set_protocol(ProtocolVersion::RESP3);
        let info = info.set_addr(addr).set_redis_settings(redis);
        Ok(info.set_tcp_settings(tcp_settings()))
    }
}

/// Without `nodelay`, small requests would be held back for more data. Keepalive packets keep an
/// idle connection in the tables of routers, and detect a peer that no longer exists.
pub(crate) fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
}

/// The error of settings that cannot be used.
pub(crate) fn configuration(problem: impl Into<String>, help: &'static str) -> Error {
    Error::new(ErrorKind::Configuration, problem).with_help(help)
}
