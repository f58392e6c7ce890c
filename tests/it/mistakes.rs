//! An error that a wrong setting causes names the setting, the address and the way out.

use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Credentials, Error, ErrorKind, Memory, Redis};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use testbed::ask::ask;
use testbed::cluster::Cluster;
use testbed::sentinel::{PRIMARY, Sentinels};
use testbed::server::Server;
use testbed::{Instance, until_ok};

async fn failure_of(redis: Redis) -> Error {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let redis = redis.connect_limit(Duration::from_secs(4)).required();
    builder.l2(redis).build().await.unwrap_err()
}

/// Checks the kind and the text of an error.
async fn expect(redis: Redis, kind: ErrorKind, parts: &[&str]) {
    let error = failure_of(redis).await;
    let text = format!("{error:?}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
    assert_eq!(error.kind(), kind, "{text}");
}

fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

#[tokio::test]
async fn wrong_password_and_missing_password_name_the_settings() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let at = address(&server);
    let wrong = ["refuses the user `default`", "`Redis::password`", &at];
    let missing = ["needs a password", "`Redis::password`", "cannot be used"];
    let kind = ErrorKind::Configuration;
    expect(Redis::new(server.url()).password("s3cret"), kind, &wrong).await;
    expect(Redis::cluster([&at]).password("s3cret"), kind, &wrong).await;
    expect(Redis::new(server.url()), kind, &missing).await;
    expect(Redis::cluster([&at]), kind, &missing).await;
}

#[tokio::test]
async fn kinds_of_servers_that_are_mistaken_for_each_other_are_named() {
    let all = Sentinels::start().await;
    let server = all.server(all.primary().await);
    let sentinel = &all.addresses()[0];
    let kind = ErrorKind::Configuration;
    let no_sentinel = [&*address(server), "is no sentinel", "26379"];
    expect(
        Redis::sentinel([address(server)], PRIMARY),
        kind,
        &no_sentinel,
    )
    .await;
    let no_server = [&**sentinel, "`Redis::sentinel`"];
    expect(Redis::new(format!("redis://{sentinel}")), kind, &no_server).await;
    expect(Redis::cluster([sentinel]), kind, &no_server).await;
    let replica = all
        .servers()
        .iter()
        .find(|other| other.port() != server.port());
    let primary = format!("is a replica of {}", address(server));
    let parts = [&*primary, "use the address of the primary"];
    expect(
        Redis::new(replica.unwrap().url()),
        ErrorKind::Protocol,
        &parts,
    )
    .await;
    // The sentinel that can be reached says more than those that cannot.
    let mixed = ["127.0.0.1:1", sentinel, "127.0.0.1:2"];
    let unknown = [&**sentinel, "`theirs`", "sentinel monitor"];
    expect(Redis::sentinel(mixed, "theirs"), kind, &unknown).await;
}

#[tokio::test]
async fn server_of_another_protocol_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let parts = [&*at, "does not speak its protocol"];
    for redis in [
        Redis::new(format!("redis://{at}")),
        Redis::cluster([&at]),
        Redis::sentinel([&at], PRIMARY),
    ] {
        expect(redis, ErrorKind::Protocol, &parts).await;
    }
}

#[tokio::test]
async fn database_of_a_cluster_is_an_error_that_names_its_settings() {
    let cluster = Cluster::start(1).await;
    let parts = [
        "the database 2",
        "`Redis::database`",
        "MULTI_TIER_CACHED_REDIS_DATABASE",
    ];
    let redis = || Redis::cluster(cluster.urls());
    expect(redis().database(2), ErrorKind::Configuration, &parts).await;
    let redis = Redis::new(cluster.node(0).url()).database(2);
    expect(redis, ErrorKind::Configuration, &parts).await;
}

/// Permits the user of a cluster's node what caching needs under `keys`.
fn permit(server: &Server, keys: &str, without: &str) {
    let (keys, channels) = (format!("~{keys}"), format!("&{keys}"));
    let mut acl = vec!["ACL", "SETUSER", "app", "reset", "on", ">s3cret", "+@all"];
    acl.extend([&*keys, &*channels]);
    if !without.is_empty() {
        acl.push(without);
    }
    let _: () = server.command(&acl);
}

#[tokio::test]
async fn permissions_of_one_shard_name_the_user_the_keys_and_the_grant() {
    let cluster = Cluster::start(1).await;
    for node in cluster.nodes() {
        permit(node, "{cache:0}:*", "");
    }
    let redis = || {
        let redis = Redis::cluster(cluster.urls()).shards(2);
        redis.user("app").password("s3cret")
    };
    let grant = "ACL SETUSER app +exists ~{cache:*}:* &{cache:*}:*";
    let parts = ["the user `app`", "exists", "`{cache:1}:*`", grant];
    expect(redis(), ErrorKind::Configuration, &parts).await;
    // Without the addresses of the other nodes the cluster is used, and that is reported.
    for node in cluster.nodes() {
        permit(node, "{cache:*}:*", "-cluster|slots");
    }
    let here = Instance::with_redis(redis().required()).await;
    until_ok("the missing permission is reported", async || {
        let health = here.health().await.to_string();
        match health.contains("cluster|slots") {
            true => Ok(()),
            false => Err(health),
        }
    })
    .await;
}

#[tokio::test]
async fn credentials_that_do_not_come_or_have_a_second_user_are_named() {
    let server = Server::start();
    let hung =
        || Redis::new(server.url()).credentials(std::future::pending::<Result<Credentials, Error>>);
    let parts = [
        "`Redis::credentials` did not return",
        "`Redis::connect_limit`",
    ];
    expect(hung(), ErrorKind::TimedOut, &parts).await;
    let parts = ["`Redis::credentials` and `Redis::user` are both set"];
    expect(hung().user("app"), ErrorKind::Configuration, &parts).await;
}

#[tokio::test]
async fn sentinel_that_refuses_its_user_names_the_settings_of_sentinels() {
    let all = Sentinels::start().await;
    for sentinel in all.sentinels() {
        let allow = ["ACL", "SETUSER", "default", "resetpass", ">right"];
        let _: () = ask(sentinel.port(), &allow).await.unwrap();
    }
    let redis = || Redis::sentinel(all.addresses(), PRIMARY);
    let kind = ErrorKind::Configuration;
    expect(
        redis(),
        kind,
        &["the sentinel at", "`Redis::sentinel_password`"],
    )
    .await;
    let wrong = redis().sentinel_password("s3cret");
    expect(
        wrong,
        kind,
        &["refuses the user `default`", "`Redis::sentinel_user`"],
    )
    .await;
}

/// A plain port takes the greeting of TLS for a command without an end, and does not answer.
#[tokio::test]
async fn tls_to_a_plain_port_names_the_settings_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let kept = tokio::spawn(async move {
        let mut sockets = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            sockets.push(socket);
        }
    });
    let parts = [
        "`rediss://`, `Redis::tls` or MULTI_TIER_CACHED_REDIS_TLS",
        &at,
    ];
    for redis in [
        Redis::new(format!("rediss://{at}")),
        Redis::cluster([format!("rediss://{at}")]),
    ] {
        expect(redis, ErrorKind::TimedOut, &parts).await;
    }
    kept.abort();
}
