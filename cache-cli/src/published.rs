//! Reads the state that instances publish (`Redis::observe`). Nothing of it has to be there.

use std::collections::HashMap;

use cache_core::inspect::{Layout, PublishedFunction, PublishedInstance, keys};
use cache_redis::inspect::Inspection;
use redis::FromRedisValue;

/// Runs a command on a published key; the default if it is missing or not permitted.
async fn read<T: FromRedisValue + Default>(
    inspection: &Inspection,
    command: &str,
    name: &str,
    arguments: &[&str],
) -> T {
    let Some(first) = inspection.shards().first() else {
        return T::default();
    };
    let mut request = redis::cmd(command);
    request.arg(first.published_name(name));
    for argument in arguments {
        request.arg(argument);
    }
    let reply = request.query_async(&mut first.connection()).await;
    reply.unwrap_or_default()
}

/// Returns the functions. Those that another version published in a form that cannot be read are
/// left out.
pub(crate) async fn functions(inspection: &Inspection) -> Vec<PublishedFunction> {
    let all: HashMap<String, String> = read(inspection, "HGETALL", keys::FUNCTIONS, &[]).await;
    let mut functions: Vec<PublishedFunction> = all
        .values()
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect();
    functions.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
    functions
}

/// Returns the layout of a value type.
pub(crate) async fn layout(inspection: &Inspection, fingerprint: u64) -> Option<Layout> {
    let field = keys::fingerprint(fingerprint);
    let text: Option<String> = read(inspection, "HGET", keys::SHAPES, &[&field]).await;
    serde_json::from_str(&text?).ok()
}

/// Returns the instances that have published within their last periods, by their ids.
pub(crate) async fn instances(inspection: &Inspection) -> Vec<PublishedInstance> {
    let ids: Vec<String> = read(inspection, "ZRANGE", keys::INSTANCES, &["0", "-1"]).await;
    let mut instances = Vec::new();
    for id in ids {
        let name = keys::instance(&id);
        let text: Option<String> = read(inspection, "GET", &name, &[]).await;
        instances
            .extend(text.and_then(|text| serde_json::from_str::<PublishedInstance>(&text).ok()));
    }
    instances.sort_by(|one, other| one.id.cmp(&other.id));
    instances
}
