//! Where the servers of a namespace are found, as the settings say it.

use std::fmt;

use cache_core::tier::kit::redact_url;
use cache_core::{Error, ErrorKind};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use crate::access::{Access, Secret, configuration, tcp_settings};

/// The port on which sentinels listen by default.
const SENTINEL_PORT: u16 = 26379;

/// The addresses that the user gave.
#[derive(Clone)]
pub(crate) enum Addresses {
    /// A URL of one server.
    Server(String),
    /// Nodes of a cluster.
    Cluster(Vec<String>),
    /// Sentinels, and the name by which they know the primary.
    Sentinels {
        sentinels: Vec<String>,
        primary: String,
    },
}

/// The addresses, ready to be connected to.
#[derive(Clone, Debug)]
pub(crate) enum Topology {
    /// One address: of a server, of a proxy, or of any node of a cluster.
    Server(ConnectionInfo),
    /// The seeds: nodes of a cluster, each of which knows the others.
    Cluster(Vec<ConnectionInfo>),
    /// Sentinels, which know the address of the primary.
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        primary: String,
        /// The settings of the primary's connections. The address is not used.
        server: ConnectionInfo,
    },
}

impl fmt::Display for Addresses {
    /// Shows the addresses without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: &[String]| {
            let shown: Vec<_> = addresses
                .iter()
                .map(|address| redact_url(address))
                .collect();
            shown.join(", ")
        };
        match self {
            Self::Server(url) => f.write_str(&redact_url(url)),
            Self::Cluster(seeds) => write!(f, "the cluster of {}", list(seeds)),
            Self::Sentinels { sentinels, primary } => {
                write!(f, "`{primary}` of the sentinels {}", list(sentinels))
            }
        }
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Topology {
    /// # Errors
    /// An address cannot be parsed, or a setting contradicts another.
    pub(crate) fn new(addresses: &Addresses, access: &Access) -> Result<Self, Error> {
        access.check(matches!(addresses, Addresses::Sentinels { .. }))?;
        match addresses {
            Addresses::Server(url) => {
                let info = parse(url).map_err(|error| not_a_url(url, error))?;
                Ok(Self::Server(access.apply(info)?))
            }
            Addresses::Cluster(seeds) => Ok(Self::Cluster(cluster(seeds, access)?)),
            Addresses::Sentinels { sentinels, primary } => {
                if sentinels.is_empty() {
                    return Err(configuration(
                        "`Redis::sentinel` has no sentinel",
                        "give the addresses of the sentinels",
                    ));
                }
                if primary.is_empty() {
                    return Err(configuration(
                        "`Redis::sentinel` has no name of a primary",
                        "give the name that `sentinel monitor` has in the configuration of the \
                         sentinels",
                    ));
                }
                let sentinels: Result<_, Error> = sentinels
                    .iter()
                    .map(|address| sentinel(address, access))
                    .collect();
                Ok(Self::Sentinels {
                    sentinels: sentinels?,
                    primary: primary.clone(),
                    server: access.apply(tcp("", 0)?)?,
                })
            }
        }
    }

    /// The number of the database in each server.
    pub(crate) fn database(&self) -> i64 {
        let info = match self {
            Self::Server(info) => Some(info),
            Self::Cluster(seeds) => seeds.first(),
            Self::Sentinels { server, .. } => Some(server),
        };
        info.map_or(0, |info| info.redis_settings().db())
    }

    /// The addresses, without secrets.
    pub(crate) fn describe(&self) -> String {
        let list = |infos: &[ConnectionInfo]| {
            let shown: Vec<_> = infos.iter().map(|info| info.addr().to_string()).collect();
            shown.join(", ")
        };
        match self {
            Self::Server(info) => info.addr().to_string(),
            Self::Cluster(seeds) => format!("the cluster of {}", list(seeds)),
            Self::Sentinels {
                sentinels, primary, ..
            } => format!("`{primary}` of the sentinels {}", list(sentinels)),
        }
    }
}

/// Returns the same settings with another address; `None` if `info` is not of a network address.
pub(crate) fn at(info: &ConnectionInfo, host: Option<&str>, port: u16) -> Option<ConnectionInfo> {
    let address = match info.addr().clone() {
        ConnectionAddr::Tcp(before, _) => {
            ConnectionAddr::Tcp(host.map_or(before, str::to_owned), port)
        }
        ConnectionAddr::TcpTls {
            host: before,
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: host.map_or(before, str::to_owned),
            port,
            insecure,
            tls_params,
        },
        _ => return None,
    };
    Some(info.clone().set_addr(address))
}

fn cluster(seeds: &[String], access: &Access) -> Result<Vec<ConnectionInfo>, Error> {
    let infos: Result<Vec<_>, Error> = seeds
        .iter()
        .map(|seed| access.apply(address(seed, "seed", "Redis::cluster")?))
        .collect();
    let infos = infos?;
    let Some(first) = infos.first() else {
        return Err(configuration(
            "`Redis::cluster` has no seed",
            "give the addresses of some nodes of the cluster",
        ));
    };
    let settings = |info: &ConnectionInfo| {
        let redis = info.redis_settings();
        let texts = [redis.username(), redis.password()].map(|text| text.map(str::to_owned));
        let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        (texts, redis.db(), is_tls)
    };
    if let Some(other) = infos.iter().find(|info| settings(info) != settings(first)) {
        return Err(configuration(
            format!(
                "the seeds {} and {} of `Redis::cluster` differ in user, password, database or TLS",
                first.addr(),
                other.addr()
            ),
            "use the same for all, because the other nodes of the cluster are used with them",
        ));
    }
    Ok(infos)
}

/// Returns `true` if the address names a port.
fn has_port(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = host.rsplit(':').next().filter(|port| *port != host);
    port.is_some_and(|port| port.parse::<u16>().is_ok())
}

fn sentinel(text: &str, access: &Access) -> Result<ConnectionInfo, Error> {
    let info = address(text, "sentinel", "Redis::sentinel")?;
    let shown = redact_url(text);
    // The client's default port is that of servers.
    let info = match has_port(text) {
        true => info,
        false => at(&info, None, SENTINEL_PORT).unwrap_or(info),
    };
    let mut redis = info.redis_settings().clone();
    if redis.password().is_some() && access.sentinel_password.is_some() {
        return Err(configuration(
            format!("the address `{shown}` of a sentinel has a password, and another one is set"),
            "leave it out of the address, or do not set `Redis::sentinel_password`",
        ));
    }
    if let Some(user) = &access.sentinel_user {
        redis = redis.set_username(user);
    }
    if let Some(Secret(password)) = &access.sentinel_password {
        redis = redis.set_password(password);
    }
    // RESP2 needs no handshake, and sentinels push nothing that is used here.
    let redis = redis.set_protocol(ProtocolVersion::RESP2).set_db(0);
    let info = info.set_redis_settings(redis);
    Ok(info.set_tcp_settings(tcp_settings()))
}

/// Parses the address of a seed or a sentinel: `host:port`, or a URL.
fn address(text: &str, what: &str, setting: &str) -> Result<ConnectionInfo, Error> {
    let url = match text.contains("://") {
        true => text.to_owned(),
        false => format!("redis://{text}"),
    };
    let shown = redact_url(text);
    let problem = format!("`{shown}` is not the address of a {what} for `{setting}`");
    let help = match is_tls_without_feature(&url) {
        true => "turn on the feature `tls` for `rediss://`",
        false => "write it as `host:port`, or as `rediss://host:port` for TLS",
    };
    let info = parse(&url).map_err(|error| {
        Error::with_source(ErrorKind::Configuration, problem.clone(), error).with_help(help)
    })?;
    match info.addr() {
        ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. } => Ok(info),
        _ => Err(configuration(problem, help)),
    }
}

fn parse(url: &str) -> Result<ConnectionInfo, redis::RedisError> {
    url.into_connection_info()
}

fn tcp(host: &str, port: u16) -> Result<ConnectionInfo, Error> {
    (host, port)
        .into_connection_info()
        .map_err(|error| not_a_url(host, error))
}

fn not_a_url(url: &str, error: redis::RedisError) -> Error {
    let problem = format!("`{}` is not a URL of Redis", redact_url(url));
    let help = match is_tls_without_feature(url) {
        true => "turn on the feature `tls` for `rediss://`",
        false => "write it as `redis://host:port`",
    };
    Error::with_source(ErrorKind::Configuration, problem, error).with_help(help)
}

fn is_tls_without_feature(url: &str) -> bool {
    cfg!(not(feature = "tls")) && (url.starts_with("rediss:") || url.starts_with("valkeys:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::CredentialsSource;

    fn cluster_of(seeds: &[&str]) -> Addresses {
        Addresses::Cluster(seeds.iter().map(|seed| (*seed).to_owned()).collect())
    }

    fn sentinels(addresses: &[&str]) -> Addresses {
        Addresses::Sentinels {
            sentinels: addresses.iter().map(|text| (*text).to_owned()).collect(),
            primary: "mymaster".to_owned(),
        }
    }

    #[test]
    fn connections_are_kept_alive() {
        let url = Addresses::Server("redis://127.0.0.1:1".to_owned());
        for addresses in [url, cluster_of(&["a:1"]), sentinels(&["a:1"])] {
            let infos = match Topology::new(&addresses, &Access::default()).unwrap() {
                Topology::Server(info) => vec![info],
                Topology::Cluster(seeds) => seeds,
                Topology::Sentinels {
                    mut sentinels,
                    server,
                    ..
                } => {
                    sentinels.push(server);
                    sentinels
                }
            };
            for info in infos {
                let settings = info.tcp_settings();
                assert!(settings.nodelay() && settings.keepalive().is_some());
            }
        }
    }

    #[test]
    fn seeds_are_addresses_or_urls_of_one_kind() {
        let parsed = |seeds: &[&str]| Topology::new(&cluster_of(seeds), &Access::default());
        let Topology::Cluster(seeds) = parsed(&["a:1", "redis://b:2", "[::1]:3"]).unwrap() else {
            panic!("not a cluster");
        };
        let seeds: Vec<_> = seeds.iter().map(|seed| seed.addr().to_string()).collect();
        assert_eq!(seeds, ["a:1", "b:2", "::1:3"]);
        for (seeds, expected) in [
            (&[][..], "has no seed"),
            (&["http://a:1"], "`Redis::cluster`"),
            (&["redis+unix:///run/socket"], "`Redis::cluster`"),
            (&["a:1", "redis://user:s3cret@b:2"], "differ in user"),
            (&["a:1", "redis://b:2/3"], "database"),
        ] {
            let error = parsed(seeds).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn sentinels_have_their_own_user_and_password() {
        let access = Access {
            user: Some("app".to_owned()),
            password: Some(Secret("s3cret".to_owned())),
            database: Some(3),
            sentinel_user: Some("watch".to_owned()),
            sentinel_password: Some(Secret("two".to_owned())),
            ..Access::default()
        };
        let topology = Topology::new(&sentinels(&["a:1", "b:2"]), &access).unwrap();
        assert_eq!(topology.database(), 3);
        let Topology::Sentinels {
            sentinels, server, ..
        } = topology
        else {
            panic!("no sentinels");
        };
        for (info, user, password, database) in [
            (&sentinels[0], "watch", "two", 0),
            (&sentinels[1], "watch", "two", 0),
            (&server, "app", "s3cret", 3),
        ] {
            let redis = info.redis_settings();
            assert_eq!(redis.username(), Some(user));
            assert_eq!(redis.password(), Some(password));
            assert_eq!(redis.db(), database);
        }
        assert!(!format!("{access:?}").contains("s3cret"));
    }

    #[test]
    fn sentinel_without_a_port_has_the_port_of_sentinels() {
        for (text, address) in [
            ("a", "a:26379"),
            ("redis://u:1@a/", "a:26379"),
            ("[::1]", "::1:26379"),
            ("[::1]:7", "::1:7"),
            ("redis://a:7/0", "a:7"),
        ] {
            let info = sentinel(text, &Access::default()).unwrap();
            assert_eq!(info.addr().to_string(), address, "{text}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let secret = |text: &str| Some(Secret(text.to_owned()));
        let url = |url: &str| Addresses::Server(url.to_owned());
        let source = CredentialsSource::new(async || Err("never asked"));
        let source_of_user = source.clone();
        let access = Access::default;
        #[rustfmt::skip]
        let wrong = [
            (url("redis://a:1"), Access { sentinel_password: secret("s3cret"), ..access() }, "no sentinels"),
            (url("redis://a:1"), Access { user: Some("app".into()), ..access() }, "`Redis::user` has no password"),
            (url("redis://app:s3cret@a:1"), Access { password: secret("s3cret"), ..access() }, "another one is set"),
            (url("redis://app:s3cret@a:1"), Access { credentials: Some(source.clone()), ..access() }, "another one is set"),
            (url("redis://a:1"), Access { password: secret("s3cret"), credentials: Some(source), ..access() }, "both set"),
            (url("redis://a:1"), Access { user: Some("app".into()), credentials: Some(source_of_user), ..access() }, "`Redis::user` are both set"),
            (url("redis://a:1/2"), Access { database: Some(3), ..access() }, "`Redis::database`"),
            #[cfg(feature = "tls")]
            (url("redis+unix:///run/socket"), Access { tls: true, ..access() }, "is a socket"),
            #[cfg(not(feature = "tls"))]
            (url("redis://a:1"), Access { tls: true, ..access() }, "feature `tls`"),
            (sentinels(&[]), access(), "no sentinel"),
            (sentinels(&["redis://:s3cret@a:1"]), Access { sentinel_password: secret("s3cret"), ..access() }, "another one is set"),
        ];
        for (addresses, access, expected) in wrong {
            let error = Topology::new(&addresses, &access).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
