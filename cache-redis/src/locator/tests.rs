//! Sentinels that do not agree, and servers that do not answer.

use std::sync::Mutex;

use cache_core::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::topology::Addresses;

/// The answer of a sentinel: the port of the primary and the number of the failover; `None` if it
/// does not know the primary.
pub(crate) type Answer = Arc<Mutex<Option<(u16, u64)>>>;

/// Starts a server that answers as a sentinel does.
pub(crate) async fn sentinel(answer: &Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::clone(answer);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, Arc::clone(&answer)));
        }
    });
    address
}

async fn serve(mut socket: TcpStream, answer: Answer) {
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let mut reply = "+OK\r\n".repeat(text.matches("SETINFO").count());
        if text.contains("GET-MASTER-ADDR") {
            reply += &reply_of(*lock(&answer));
        }
        if socket.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn reply_of(answer: Option<(u16, u64)>) -> String {
    match answer {
        Some((port, failover)) => format!(
            "*2\r\n$12\r\nconfig-epoch\r\n$1\r\n{failover}\r\n\
             *2\r\n$9\r\n127.0.0.1\r\n$4\r\n{port}\r\n"
        ),
        None => "-ERR No such master with that name\r\n*-1\r\n".to_owned(),
    }
}

/// Starts a server that accepts connections and answers nothing.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut sockets = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            sockets.push(socket);
        }
    });
    address
}

/// Starts a server that refuses every user.
async fn refuses() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let refusal = "-WRONGPASS invalid username-password pair\r\n".repeat(3);
            let _ = socket.write_all(refusal.as_bytes()).await;
            let mut buffer = [0; 4096];
            while let Ok(1..) = socket.read(&mut buffer).await {}
        }
    });
    address
}

pub(crate) fn says(port: u16, failover: u64) -> Answer {
    Arc::new(Mutex::new(Some((port, failover))))
}

fn locator(addresses: &Addresses, limit: Duration) -> Locator {
    let topology = Topology::new(addresses, &Access::default()).unwrap();
    let known = Arc::default();
    let key = "{cache:0}:#heartbeat".to_owned();
    Locator::new(topology, Access::default(), key, limit, known, 0)
}

async fn is_replaced(locator: &Locator) -> bool {
    locator.is_replaced(&locator.found().unwrap()).await
}

pub(crate) fn behind(sentinels: Vec<String>, limit: Duration) -> Locator {
    let primary = "main".to_owned();
    locator(&Addresses::Sentinels { sentinels, primary }, limit)
}

/// An operator has given two of three sentinels another primary, and has missed the third.
#[tokio::test]
async fn sentinel_that_missed_another_primary_is_outvoted_for_good() {
    let (one, two, three) = (says(7001, 5), says(7001, 5), says(7001, 5));
    let mut all = Vec::new();
    for answer in [&one, &two, &three] {
        all.push(sentinel(answer).await);
    }
    let locator = behind(all, Duration::from_secs(4));
    locator.find().await.unwrap();
    assert_eq!(locator.address(), "127.0.0.1:7001");
    for changed in [&one, &two] {
        *lock(changed) = Some((7002, 0));
    }
    let mut moves = Vec::new();
    for _ in 0..20 {
        if is_replaced(&locator).await {
            locator.find().await.unwrap();
            moves.push(locator.address());
        }
    }
    assert_eq!(moves, ["127.0.0.1:7002"]);
    // The two are given the first one again.
    for changed in [&one, &two] {
        *lock(changed) = Some((7001, 0));
    }
    for _ in 0..20 {
        if is_replaced(&locator).await {
            locator.find().await.unwrap();
            moves.push(locator.address());
        }
    }
    // Once more for the larger number of the third.
    let back = "127.0.0.1:7001";
    assert_eq!(moves, ["127.0.0.1:7002", back, back]);
}

#[tokio::test]
async fn error_of_one_sentinel_or_node_is_not_hidden_by_another_that_does_not_answer() {
    let limit = Duration::from_millis(500);
    let unknown = Answer::default();
    let sentinels = vec![sentinel(&unknown).await, silent().await];
    let error = behind(sentinels, limit).find().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(error.to_string().contains("`main`"), "{error:?}");
    let seeds = Addresses::Cluster(vec![refuses().await, silent().await]);
    let error = locator(&seeds, limit).find().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(error.to_string().contains("`default`"), "{error:?}");
    let began = Instant::now();
    let seeds = Addresses::Cluster(vec![refuses().await, refuses().await]);
    let patient = locator(&seeds, Duration::from_secs(100));
    patient.find().await.unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(50),
        "no node is left to ask"
    );
    let seeds = Addresses::Cluster(vec![silent().await]);
    let error = locator(&seeds, limit).find().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
}
