//! The commands of docs/command-line.md, run as they are written there.

use std::path::{Path, PathBuf};

use multi_tier_cached::{Redis, invalidate, multi_tier_cached};
use serde::{Deserialize, Serialize};
use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, until};

use crate::program;
use crate::screen::Screen;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    city: Option<String>,
}

#[multi_tier_cached(ttl = "1h", name = "users::get")]
async fn get_user(id: u64) -> User {
    User {
        id,
        name: format!("user {id}"),
        city: (id == 42).then(|| "Bern".to_owned()),
    }
}

#[multi_tier_cached(ttl = "30m", name = "orders::of_user", tags = ["user:{user}"])]
async fn orders_of(user: u64) -> Vec<u64> {
    vec![user, 100 + user]
}

/// Two instances of the shop on the page.
async fn shop(server: &Server) -> [Instance; 2] {
    let instance = async |name: &str| {
        let redis = Redis::new(server.url()).namespace("shop").observe(name);
        let instance = Instance::with_redis(redis).await;
        instance.until_coherent().await;
        instance
    };
    let instances = [instance("shop-1").await, instance("shop-2").await];
    for instance in &instances {
        instance.call(orders_of(42)).await;
        for id in [7, 42, 43] {
            instance.call(get_user(id)).await;
            instance.call(get_user(id)).await;
        }
    }
    let invalidations = async {
        invalidate!(get_user, 43).await?;
        invalidate!(tag "user:42").await
    };
    instances[0].call(invalidations).await.unwrap();
    // The layouts, and the counters of the calls above.
    for name in ["shop-1", "shop-2"] {
        until("the instance publishes what it counted", || {
            let keys = server.keys().into_iter();
            let mut keys = keys.filter(|key| key.contains(&format!("#instance:{name}")));
            let has_counts = |key: String| {
                let text: Option<String> = server.command(&["GET", &key]);
                let text = text.unwrap_or_default();
                let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let functions = state["snapshot"]["functions"].as_array().cloned();
                let mut functions = functions.unwrap_or_default().into_iter();
                functions.any(|of| of["name"] == "users::get" && of["tiers"][0]["hits"] == 3)
            };
            keys.any(has_counts)
        })
        .await;
    }
    instances
}

/// A directory with the trace on the page: 20,000 accesses, some keys far more often than others.
fn directory() -> Directory {
    let directory = Directory::new("page");
    let mut random = fastrand::Rng::with_seed(7);
    let accesses = (0..20_000).map(|_| 5_000_f64.powf(random.f64()) as u64);
    let text: String = accesses.map(|key| format!("user:{key}\n")).collect();
    std::fs::write(directory.path().join("trace.txt"), text).unwrap();
    directory
}

/// Numbers and the space around them differ from run to run.
fn normal(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut normal = String::new();
        for c in line.chars() {
            let last = normal.chars().last();
            match c {
                '0'..='9' if last == Some('#') => {}
                '0'..='9' => normal.push('#'),
                ' ' if last == Some(' ') => {}
                '.' if last == Some('#') => {}
                c => normal.push(c),
            }
        }
        normal
            .replace("# ms", "# s")
            .replace("# min # s", "# s")
            // How long a round trip takes, where tests run.
            .replace("the server is far away, and each operation waits for it; move the program nearer to it", "the server is near")
            .trim()
            .to_owned()
    };
    text.lines()
        .map(line)
        .filter(|line| !line.is_empty())
        .collect()
}

/// Runs a command, and returns what it prints, or shows on a terminal.
async fn printed(words: &[&str], url: &str, directory: &Path) -> String {
    let mut variables = vec![
        ("MULTI_TIER_CACHED_REDIS_URL", url),
        ("MULTI_TIER_CACHED_REDIS_NAMESPACE", "shop"),
        ("USER", "ann"),
    ];
    // A machine that is busy with tests answers some pings late. The page has the real limit.
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        variables.push(("MULTI_TIER_CACHED_REDIS_TIME_LIMIT", "2s"));
    }
    if words == ["top"] {
        let screen = Screen::open(words, &variables).await;
        let text = screen.until(&["users::get", "q quit"]).await;
        screen.close().await;
        return text;
    }
    let mut command = program::command(words);
    command.envs(variables).current_dir(directory);
    let run = program::finish(command).await;
    assert!(run.errors.is_empty(), "{words:?}: {run:?}");
    run.output
}

/// Runs the commands of a block, and returns the block with what they print.
async fn run(block: &str, url: &str) -> String {
    let directory = directory();
    let mut real = String::new();
    for line in block.lines() {
        let Some(words) = line.strip_prefix("$ multi-tier-cached ") else {
            continue;
        };
        let words: Vec<String> = words
            .split(' ')
            .map(|word| word.replace('\'', ""))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = printed(&words, url, directory.path()).await;
        let output = output.replace(&url["redis://".len()..], "127.0.0.1:6379");
        let output = output.replace("time limit 2s", "time limit 250ms");
        let output: Vec<&str> = output.lines().map(str::trim_end).collect();
        real += &format!("{line}\n{}\n", output.join("\n").trim_end());
    }
    real
}

/// `UPDATE_GOLDEN=1` writes the page again.
#[tokio::test]
async fn commands_of_the_page_print_what_it_shows() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/command-line.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let server = Server::start();
    let _instances = shop(&server).await;
    let mut real = String::new();
    let mut commands = 0;
    for (at, part) in text.split("```").enumerate() {
        let is_console = at % 2 == 1 && part.starts_with("console\n");
        let part = match is_console {
            true => format!("console\n{}", run(part, &server.url()).await),
            false => part.to_owned(),
        };
        commands += part.matches("$ multi-tier-cached ").count();
        if at > 0 {
            real += "```";
        }
        real += &part;
    }
    assert!(commands > 10, "only {commands} commands");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&page, &real).unwrap();
        return;
    }
    assert_eq!(
        normal(&real),
        normal(&text),
        "UPDATE_GOLDEN=1 writes the page again"
    );
}
