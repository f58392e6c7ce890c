//! `top` on a real terminal, with two instances that publish themselves.

use multi_tier_cached::Redis;
use testbed::server::Server;
use testbed::{Instance, until};

use crate::data::{score, user};
use crate::screen::Screen;

/// A server, and two instances that have published calls of two functions.
struct Shop {
    server: Server,
    _instances: Vec<Instance>,
}

impl Shop {
    async fn open() -> Self {
        let server = Server::start();
        let mut instances = Vec::new();
        for name in ["shop-1", "shop-2"] {
            let redis = Redis::new(server.url()).observe(name);
            let instance = Instance::with_redis(redis).await;
            instance.until_coherent().await;
            for id in 0..5 {
                instance.call(user(id)).await;
            }
            instance.call(score(7, "ann")).await;
            instances.push(instance);
        }
        let has_calls = |key: &String| {
            let text: Option<String> = server.command(&["GET", key]);
            let text = text.unwrap_or_default();
            ["cli::user", "cli::score"]
                .iter()
                .all(|name| text.contains(&format!("\"name\":\"{name}\"")))
        };
        until("both instances publish their calls", || {
            let keys = server.keys().into_iter();
            let keys = keys.filter(|key| key.contains("#instance:"));
            keys.filter(has_calls).count() == 2
        })
        .await;
        Self {
            server,
            _instances: instances,
        }
    }

    /// Opens `top`, and waits for its first screen.
    async fn top(&self) -> Screen {
        let screen = Screen::open(&["top", "--redis", &self.server.url()], &[]).await;
        screen.until(&["cli::user", "q quit"]).await;
        screen
    }
}

/// The lines of a screen that show a function.
fn functions(screen: &str) -> Vec<&str> {
    let names = screen.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| name.starts_with("cli::")).collect()
}

#[tokio::test]
async fn keys_sort_filter_and_show_details_on_a_terminal_of_any_size() {
    let shop = Shop::open().await;
    let screen = shop.top().await;
    let text = screen.until(&["2 instances", "shop-1", "shop-2"]).await;
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert_eq!(text.lines().count(), 24, "{text}");
    assert_eq!(functions(&text), ["cli::user", "cli::score"], "{text}");

    for sort in ["by loads", "by cost", "by hit ratio", "by name"] {
        screen.press(&["s"]).await;
        screen.until(&[sort]).await;
    }
    let text = screen.text().await;
    assert_eq!(functions(&text), ["cli::score", "cli::user"], "{text}");

    screen.press(&["/", "u", "s", "e"]).await;
    let text = screen.until(&["filter: use_", "Esc clear"]).await;
    assert_eq!(functions(&text), ["cli::user"], "{text}");
    screen.press(&["Enter"]).await;
    screen.until(&["filter: use", "q quit"]).await;
    screen.press(&["Enter"]).await;
    let tiers = ["shop-1           l1  ", "shop-2           l2  "];
    screen.until(&tiers).await;

    for (columns, lines) in [(120, 40), (60, 12), (80, 24)] {
        screen.resize(columns, lines).await;
        let foot = || async {
            let text = screen.text().await;
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.last().copied().unwrap_or_default();
            (lines.len(), last.starts_with("q quit"))
        };
        let expected = (usize::from(lines), true);
        let limit = std::time::Duration::from_secs(20);
        testbed::until_returns(expected, limit, foot).await;
    }
    screen.until(&tiers).await;
    screen.press(&["Enter"]).await;
    screen.until(&["calls/s"]).await;
    screen.close().await;
}

#[tokio::test]
async fn terminal_is_as_before_after_a_key_an_interrupt_and_a_signal() {
    let shop = Shop::open().await;
    for end in ["q", "C-c", "TERM", "HUP"] {
        let screen = shop.top().await;
        assert_eq!(screen.is_taken().await, (true, false), "{end}");
        match end {
            "TERM" | "HUP" => screen.signal(end).await,
            key => screen.press(&[key]).await,
        }
        // The earlier text of the terminal is there again, and the program ended well.
        let text = screen.until(&["before\nended with 0\n"]).await;
        assert!(!text.contains("cli::user"), "{end}: {text}");
        assert_eq!(screen.is_taken().await, (false, true), "{end}");
        let (before, after) = until_settings(&screen).await;
        assert_eq!(before, after, "{end}");
        screen.close().await;
    }
}

#[tokio::test]
async fn lost_server_is_shown_with_the_last_numbers_until_it_is_back() {
    let mut shop = Shop::open().await;
    let screen = shop.top().await;
    shop.server.kill();
    screen.until(&["NOT CONNECTED", "cli::user"]).await;
    shop.server.restart();
    let is_back = || async { !screen.text().await.contains("NOT CONNECTED") };
    let limit = std::time::Duration::from_secs(20);
    testbed::until_returns(true, limit, is_back).await;
    screen.until(&["2 instances"]).await;
    screen.close().await;
}

/// The time limit of a command is longer than this.
#[tokio::test]
async fn key_ends_the_program_while_the_server_does_not_answer() {
    let shop = Shop::open().await;
    let screen = shop.top().await;
    shop.server.freeze();
    // A read begins each second.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    screen.press(&["q"]).await;
    let ended = screen.until(&["before\nended with 0\n"]);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(3), ended).await;
    shop.server.thaw();
    ended.expect("the program ends");
    screen.close().await;
}

/// Waits until the settings of the terminal after the end are known.
async fn until_settings(screen: &Screen) -> (String, String) {
    let mut settings = (String::new(), String::new());
    until("the settings of the terminal are written", || {
        settings = screen.settings();
        settings.1.ends_with('\n')
    })
    .await;
    settings
}
