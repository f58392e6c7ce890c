//! Asks sentinels for the address of a primary.
//!
//! Sentinels learn of a failover one after another. Each failover has a number (`config-epoch`),
//! larger than that of every earlier one, so of two answers the one with the larger number is the
//! later one. The numbers begin again if the sentinels lose their state, or are configured with
//! another primary (`SENTINEL REMOVE` and `SENTINEL MONITOR`): then the address that more than half
//! of them name decides.

use std::collections::HashMap;
use std::time::Duration;

use cache_core::tier::kit::timed_out;
use cache_core::{Error, ErrorKind};
use redis::{ConnectionInfo, RedisError, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::errors::{self, failed};
use crate::mistakes::{Peer, clearer, failed_at, with_tls_help};
use crate::transport::{self, Pem};

/// The address of a primary, as a sentinel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Primary {
    pub(super) host: String,
    pub(super) port: u16,
    /// The number of the failover that made it the primary.
    pub(super) failover: u64,
}

/// Returns the latest answer of the sentinels, which are asked at the same time. The answers of
/// more than half of them are enough, and any answer is once half of `limit` has passed. An answer
/// that `is_void` counts only if there is no other.
///
/// # Errors
/// No sentinel knows the primary, or none answers within `limit`.
pub(super) async fn primary(
    sentinels: &[ConnectionInfo],
    name: &str,
    root: Option<&Pem>,
    limit: Duration,
    is_void: impl Fn(&Primary) -> bool,
) -> Result<Primary, Error> {
    let mut questions = ask_all(sentinels, name, root);
    let most = sentinels.len() / 2 + 1;
    let begin = Instant::now();
    let rank = |primary: &Primary| (!is_void(primary)).then_some(primary.failover);
    let mut answers = 0;
    let mut latest: Option<Primary> = None;
    let mut problem = None;
    while answers < most {
        let end = match latest {
            None => begin + limit,
            Some(_) => begin + limit / 2,
        };
        let Ok(answer) = timeout_at(end, questions.join_next()).await else {
            if latest.is_none() {
                let late = timed_out("ask the sentinels", "the sentinels", limit);
                // An answer of another sentinel may say which setting is wrong, which helps more
                // than that the others did not answer.
                problem = Some(clearer(problem, with_tls_help(late, sentinels)));
            }
            break;
        };
        match answer {
            Some(Ok(Ok(primary))) => {
                answers += 1;
                if latest
                    .as_ref()
                    .is_none_or(|known| rank(known) < rank(&primary))
                {
                    latest = Some(primary);
                }
            }
            Some(Ok(Err(error))) => problem = Some(clearer(problem.take(), error)),
            Some(Err(panic)) => {
                let error = RedisError::from(std::io::Error::other(panic));
                let error = failed("ask a sentinel for the primary", error);
                problem = Some(clearer(problem.take(), error));
            }
            None => break,
        }
    }
    latest.ok_or_else(|| {
        problem.unwrap_or_else(|| failed("ask a sentinel for the primary", errors::no_reply()))
    })
}

/// Returns the primary that more than half of the sentinels name, by the same address.
///
/// There is no time limit.
pub(super) async fn agreed(
    sentinels: &[ConnectionInfo],
    name: &str,
    root: Option<&Pem>,
) -> Option<Primary> {
    let mut questions = ask_all(sentinels, name, root);
    let mut answers: Vec<(Primary, usize)> = Vec::new();
    while let Some(answer) = questions.join_next().await {
        let Ok(Ok(primary)) = answer else {
            continue;
        };
        let is_same = |known: &Primary| known.host == primary.host && known.port == primary.port;
        let place = answers.iter().position(|(known, _)| is_same(known));
        let place = place.unwrap_or_else(|| {
            answers.push((primary.clone(), 0));
            answers.len() - 1
        });
        let (known, votes) = &mut answers[place];
        known.failover = known.failover.max(primary.failover);
        *votes += 1;
        if *votes > sentinels.len() / 2 {
            return Some(known.clone());
        }
    }
    None
}

fn ask_all(
    sentinels: &[ConnectionInfo],
    name: &str,
    root: Option<&Pem>,
) -> JoinSet<Result<Primary, Error>> {
    let mut questions = JoinSet::new();
    for sentinel in sentinels {
        let (sentinel, name, root) = (sentinel.clone(), name.to_owned(), root.cloned());
        questions.spawn(async move { ask(&sentinel, &name, root.as_ref()).await });
    }
    questions
}

/// Asks one sentinel.
///
/// # Errors
/// It does not know the primary, or does not answer. There is no time limit.
pub(super) async fn ask(
    sentinel: &ConnectionInfo,
    name: &str,
    root: Option<&Pem>,
) -> Result<Primary, Error> {
    let refused = |error| {
        failed_at(
            "ask a sentinel for the primary",
            sentinel,
            Peer::Sentinel,
            error,
        )
    };
    let mut question = redis::pipe();
    // Each reply is judged by itself: a name that is not known is an error of the first command,
    // and an empty reply to the second one.
    question.ignore_errors();
    // The number is asked for before the address, so that it is never later than the address. An
    // old address with the number of a new one would look like the latest answer, and a link to
    // it would be kept.
    question
        .cmd("SENTINEL")
        .arg("MASTER")
        .arg(name)
        .cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(name);
    let replies: Vec<Result<Value, RedisError>> =
        transport::ask(sentinel, root, async |mut connection| {
            question.query_async(&mut connection).await
        })
        .await
        .map_err(refused)?;
    let mut replies = replies.into_iter();
    let state = replies.next().unwrap_or(Ok(Value::Nil));
    let address = replies.next().unwrap_or(Ok(Value::Nil)).map_err(refused)?;
    let address: Option<(String, u16)> =
        redis::from_redis_value(address).map_err(|error| refused(RedisError::from(error)))?;
    let Some((host, port)) = address else {
        let problem = format!(
            "the sentinel at {} does not know the primary `{name}`",
            sentinel.addr()
        );
        let help = "use the name that `sentinel monitor` has in the configuration of the sentinels";
        return Err(Error::new(ErrorKind::Configuration, problem).with_help(help));
    };
    // The address in this reply is not used: it may be the old one while a failover is under way.
    let state: HashMap<String, String> = redis::from_redis_value(state.map_err(refused)?)
        .map_err(|error| refused(RedisError::from(error)))?;
    let failover = state.get("config-epoch").and_then(|text| text.parse().ok());
    Ok(Primary {
        host,
        port,
        failover: failover.unwrap_or(0),
    })
}
