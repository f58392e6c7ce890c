//! The arguments of the program.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Looks at the caches of `multi-tier-cached` in Redis or Valkey.
///
/// It reads what the instances store, and needs no port and no setting of the program. With
/// `Redis::observe` in the program it also decodes values and shows instances.
#[derive(Debug, Parser)]
#[command(
    name = "multi-tier-cached",
    version,
    after_help = "Exit codes: 0 fine, 1 found something wrong, 2 wrong usage, 3 the server is not reachable.\n\
                  User, password, database and TLS are set by the variables of the library, such as \
                  MULTI_TIER_CACHED_REDIS_PASSWORD."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print JSON: one document, or one for each line of a list.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the servers are, and which namespace is meant.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// One server, or any node of a cluster with one shard: `redis://host:port`, `rediss://…`
    /// (with the feature `tls`), or `redis+unix:///path`.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MULTI_TIER_CACHED_REDIS_URL",
        hide_env_values = true
    )]
    pub(crate) redis: Option<String>,
    /// Some nodes of a cluster, separated by commas.
    #[arg(
        long,
        global = true,
        value_name = "SEEDS",
        env = "MULTI_TIER_CACHED_REDIS_CLUSTER",
        hide_env_values = true
    )]
    pub(crate) cluster: Option<String>,
    /// The sentinels of a primary, separated by commas.
    #[arg(
        long,
        global = true,
        value_name = "ADDRESSES",
        env = "MULTI_TIER_CACHED_REDIS_SENTINELS",
        hide_env_values = true
    )]
    pub(crate) sentinels: Option<String>,
    /// The name that the sentinels have for the primary.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "MULTI_TIER_CACHED_REDIS_SENTINEL_MASTER",
        hide_env_values = true
    )]
    pub(crate) sentinel_master: Option<String>,
    /// The namespace of the instances. Default: `cache`.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "MULTI_TIER_CACHED_REDIS_NAMESPACE",
        hide_env_values = true
    )]
    pub(crate) namespace: Option<String>,
    /// The options above that are on the command line, and not from the environment.
    #[arg(skip)]
    pub(crate) options: Vec<&'static str>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check the servers, their settings, and what the instances have stored.
    Doctor,
    /// List the keys of a function, or the functions.
    Keys(Keys),
    /// Show the value of a key.
    Get(Get),
    /// Say why a key is, or is not, answered from Redis.
    Explain(Target),
    /// Invalidate a key, the keys that match, a function, or everything.
    Invalidate(Invalidate),
    /// Show invalidations while they happen.
    Tail(Tail),
    /// Show functions, tiers and instances while they work.
    Top(Top),
    /// Measure the operations of the cache on this server, beside bare commands.
    Bench(Bench),
    /// Replay a trace of accesses, and print hit ratios and latencies.
    Replay(Replay),
}

/// Parses the arguments of a key. Known options are recognized before it, so a text with two
/// hyphens is a mistyped option.
fn key(text: &str) -> Result<String, String> {
    match text.starts_with("--") {
        true => Err(format!("`{text}` is no option and no arguments of a key")),
        false => Ok(text.to_owned()),
    }
}

/// A key.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// The function, with its version if it has several (`users::get:2`), or a full key of Redis.
    pub(crate) function: String,
    /// The arguments, as `keys` lists them. The shell needs quotes around those with special
    /// characters: `"'a%20b'"`.
    #[arg(allow_hyphen_values = true, value_parser = key)]
    pub(crate) key: Option<String>,
}

/// The arguments of `keys`.
#[derive(Args, Debug)]
pub(crate) struct Keys {
    /// The function, with its version if it has several. Without it, functions are listed.
    pub(crate) function: Option<String>,
    /// The arguments of the keys: `*` stands for any text, `?` for a character, `[12]` for one of
    /// some, `[a-f]` for one of a range, `[^a]` for another one, and `\` takes the meaning of the
    /// next character.
    #[arg(allow_hyphen_values = true, value_parser = key)]
    pub(crate) glob: Option<String>,
    /// The largest number of lines.
    #[arg(long, default_value_t = 1000, value_name = "NUMBER")]
    pub(crate) limit: usize,
}

/// The arguments of `get`.
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Write the bytes of the value as they are stored.
    #[arg(long, conflicts_with_all = ["header", "json"])]
    pub(crate) raw: bool,
    /// Show the header of the record as well.
    #[arg(long)]
    pub(crate) header: bool,
}

/// The arguments of `invalidate`.
#[derive(Args, Debug)]
pub(crate) struct Invalidate {
    /// The function, with its version if it has several, or a full key of Redis.
    #[arg(required_unless_present = "all")]
    pub(crate) function: Option<String>,
    /// The arguments, as `keys` lists them. Without them, the whole function.
    #[arg(allow_hyphen_values = true, value_parser = key)]
    pub(crate) key: Option<String>,
    /// The keys of the function whose arguments match, as in `keys`.
    #[arg(long, value_name = "GLOB", allow_hyphen_values = true, conflicts_with_all = ["key", "all"], requires = "function")]
    pub(crate) matching: Option<String>,
    /// Everything in the namespace.
    #[arg(long, conflicts_with = "function")]
    pub(crate) all: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Say what would be invalidated, and invalidate nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The arguments of `tail`.
#[derive(Args, Debug)]
pub(crate) struct Tail {
    /// Show lines that contain this text.
    pub(crate) filter: Option<String>,
    /// Show this many entries that the audit already has.
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    pub(crate) last: usize,
    /// End after this many lines.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<usize>,
    /// Show fills too: messages that only wake waiting callers.
    #[arg(long)]
    pub(crate) fills: bool,
}

/// The arguments of `top`.
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// Print the state once, as text, and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// Show functions that contain this text.
    pub(crate) filter: Option<String>,
}

/// The arguments of `bench`.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// The number of operations that are under way at a time.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) callers: u16,
    /// The seconds that are measured.
    #[arg(long, default_value_t = 5, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=600))]
    pub(crate) seconds: u16,
    /// The bytes of a value.
    #[arg(long, default_value_t = 200, value_name = "NUMBER")]
    pub(crate) value_bytes: usize,
}

/// The arguments of `replay`.
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// A file with a key on each line, or `-` for the standard input. Without it, a million
    /// accesses to 100,000 keys of a Zipf distribution.
    #[arg(value_name = "TRACE")]
    pub(crate) trace: Option<String>,
    /// The tiers, of which l1 (memory) is one. Default: l1, and l2 (Redis) if an option names a
    /// server.
    #[arg(long, value_delimiter = ',', value_name = "TIERS")]
    pub(crate) tiers: Vec<ReplayTier>,
    /// The engine of the memory.
    #[arg(long, default_value = "moka", value_name = "ENGINE")]
    pub(crate) engine: ReplayEngine,
    /// The number of entries that memory has room for.
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub(crate) entries: u64,
    /// The number of callers that share the accesses of the trace.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) callers: u16,
    /// The directory of l3.
    #[cfg(feature = "disk")]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) disk: Option<std::path::PathBuf>,
}

/// A tier that a trace is replayed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayTier {
    /// The memory.
    L1,
    /// Redis.
    L2,
    /// The disk.
    #[cfg(feature = "disk")]
    L3,
}

/// An engine of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayEngine {
    Moka,
    #[value(name = "quick_cache")]
    QuickCache,
}
