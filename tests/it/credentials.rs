//! Credentials that change while the program runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::stream::StreamLog;
use multi_tier_cached::{CacheRuntime, Credentials, Memory, Redis, invalidate, multi_tier_cached};

use testbed::log::Log;
use testbed::server::Server;
use testbed::{Instance, until, until_ok};

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    key
}

/// A service for tokens.
#[derive(Clone, Default)]
struct Tokens {
    /// The password, or the error of the service.
    current: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicU64>,
    valid_for: Option<Duration>,
}

impl Tokens {
    fn new(password: &str) -> Self {
        let tokens = Self::default();
        tokens.set(Some(password));
        tokens
    }

    fn set(&self, password: Option<&str>) {
        *self.current.lock().unwrap() = password.map(str::to_owned);
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// A tier whose credentials are these tokens.
    fn tier(&self, server: &Server) -> Redis {
        let tokens = self.clone();
        // A busy machine keeps to this limit.
        let redis = Redis::new(server.url()).connect_limit(Duration::from_secs(5));
        redis.credentials(move || {
            tokens.asked.fetch_add(1, Ordering::SeqCst);
            let password = tokens.current.lock().unwrap().clone();
            let valid_for = tokens.valid_for;
            async move {
                let password = password.ok_or("no token today")?;
                let credentials = Credentials::new("app", password);
                Ok::<_, &str>(match valid_for {
                    Some(valid_for) => credentials.valid_for(valid_for),
                    None => credentials,
                })
            }
        })
    }
}

/// A server with the user `app`, who has these passwords and may do everything.
fn server(passwords: &[&str]) -> Server {
    let server = Server::start();
    allow(&server, passwords);
    server
}

fn allow(server: &Server, passwords: &[&str]) {
    let mut acl = vec!["ACL", "SETUSER", "app", "reset", "on", "+@all", "~*", "&*"];
    let passwords: Vec<_> = passwords.iter().map(|text| format!(">{text}")).collect();
    acl.extend(passwords.iter().map(String::as_str));
    let _: () = server.command(&acl);
}

fn kill_all(server: &Server) {
    let _: i64 = server.command(&["CLIENT", "KILL", "USER", "app"]);
}

#[tokio::test]
async fn credentials_are_asked_for_at_each_attempt_to_connect() {
    let server = server(&["s3cret-1"]);
    let tokens = Tokens::new("s3cret-1");
    let here = Instance::with_redis(tokens.tier(&server).required()).await;
    assert_eq!(tokens.asked(), 1, "once for both connections");
    tokens.set(Some("s3cret-2"));
    allow(&server, &["s3cret-2"]);
    let before = here.tier_health().isolations;
    kill_all(&server);
    here.until_isolated_since(before).await;
    here.until_coherent().await;
    assert!(tokens.asked() >= 2);
}

#[tokio::test]
async fn connections_are_authenticated_again_before_their_credentials_end() {
    let server = server(&["s3cret-1", "s3cret-2"]);
    let tokens = Tokens {
        valid_for: Some(Duration::from_secs(4)),
        ..Tokens::new("s3cret-1")
    };
    let here = Instance::with_redis(tokens.tier(&server).required()).await;
    tokens.set(Some("s3cret-2"));
    // Both connections of the link.
    until("both are authenticated twice more", || {
        server.calls("auth") >= 4
    })
    .await;
    assert!(tokens.asked() >= 3);
    let health = here.tier_health();
    assert!(health.connected && health.isolations == 0, "{health:?}");
    assert_eq!(here.call(read(1)).await, 1);
}

#[tokio::test]
async fn link_whose_credentials_cannot_be_renewed_is_given_up_before_they_end() {
    let log = Log::default();
    let _capture = log.capture();
    let server = server(&["s3cret-1"]);
    let tokens = Tokens {
        valid_for: Some(Duration::from_secs(5)),
        ..Tokens::new("s3cret-1")
    };
    let redis = tokens
        .tier(&server)
        .connect_limit(Duration::from_millis(200));
    let here = Instance::with_redis(redis).await;
    here.until_coherent().await;
    tokens.set(None);
    until("the health says that the credentials end", || {
        let unusable = here.tier_health().unusable;
        unusable.iter().any(|text| text.contains("no token today"))
    })
    .await;
    assert!(here.tier_health().connected, "they have not ended yet");
    here.until_disconnected().await;
    until_ok("the health has the reason", async || {
        let health = here.health().await.to_string();
        match health.contains("no token today") {
            true => Ok(()),
            false => Err(health),
        }
    })
    .await;
    assert_eq!(log.lines_with("cannot be renewed").len(), 1);
    until("the log says that Redis is not used", || {
        !log.lines_with("Redis cannot be used").is_empty()
    })
    .await;
    tokens.set(Some("s3cret-1"));
    here.until_coherent().await;
    tokens.set(None);
    until("the next failure is in the log, too", || {
        log.lines_with("cannot be renewed").len() == 2
    })
    .await;
    assert!(log.lines_with("s3cret").is_empty());
}

#[tokio::test]
async fn function_that_fails_or_is_refused_at_the_start_is_named_without_its_secrets() {
    let server = server(&["s3cret-1"]);
    for (password, expected) in [(None, "no token today"), (Some("s3cret-2"), "WRONGPASS")] {
        let tokens = Tokens::new("");
        tokens.set(password);
        let builder = CacheRuntime::builder().l1(Memory::builder());
        let tier = tokens.tier(&server);
        assert!(!format!("{tier:?}").contains("s3cret"));
        let error = builder
            .l2(tier.clone().required())
            .build()
            .await
            .unwrap_err();
        let error = format!("{error:?}");
        assert!(error.contains(expected), "{expected} is not in {error}");
        assert!(!error.contains("s3cret"), "{error}");
        let here = Instance::with_redis(tier).await;
        assert_eq!(here.call(read(1)).await, 1, "calls continue");
        let health = here.health().await.to_string();
        assert!(
            health.contains(expected) && !health.contains("s3cret"),
            "{health}"
        );
    }
}

/// Streams and the wait for replicas have connections of their own.
#[tokio::test]
async fn other_connections_are_made_with_credentials_as_well() {
    let server = server(&["s3cret-1"]);
    let tokens = Tokens {
        valid_for: Some(Duration::from_millis(400)),
        ..Tokens::new("s3cret-1")
    };
    let tier = tokens.tier(&server);
    let streams = tier.streams().unwrap();
    let fields: [(&str, &[u8]); 1] = [("text", b"a")];
    streams.publish("orders", &fields, None).await.unwrap();
    // A connection is not used after three quarters of the life of its credentials.
    let before = tokens.asked();
    until_ok("the connection is made again", async || {
        streams
            .publish("orders", &fields, None)
            .await
            .map_err(|error| error.to_string())?;
        if tokens.asked() > before {
            Ok(())
        } else {
            Err("it was kept".to_owned())
        }
    })
    .await;
    let here = Instance::with_redis(Tokens::new("s3cret-1").tier(&server).required()).await;
    let error = here.call(async { invalidate!(read, 1).replicated(1).await });
    let error = error.await.unwrap_err().to_string();
    assert!(error.contains("0 of 1 replicas"), "{error}");
}
