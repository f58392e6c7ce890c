//! Options of the command line, and the trace.

use std::error::Error;

use multi_tier_cached::Engine;

/// Number of keys of the built-in trace, and its length.
const ZIPF_KEYS: f64 = 100_000.0;
const ZIPF_ACCESSES: usize = 1_000_000;

pub(crate) struct Options {
    pub(crate) trace: Option<String>,
    pub(crate) l1_entries: u64,
    pub(crate) engine: Engine,
    pub(crate) redis: Option<String>,
    pub(crate) disk: Option<String>,
    pub(crate) callers: usize,
}

impl Options {
    pub(crate) fn from_args() -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            trace: None,
            l1_entries: 10_000,
            engine: Engine::Moka,
            redis: None,
            disk: None,
            callers: 1,
        };
        let mut tiers: Option<String> = None;
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                value
                    .parse()
                    .map_err(|_| format!("{name}: `{value}` is not a number"))
            };
            match name.as_str() {
                "--trace" => options.trace = Some(value),
                "--redis" => options.redis = Some(value),
                "--disk" => options.disk = Some(value),
                "--tiers" => tiers = Some(value),
                "--engine" => options.engine = value.parse()?,
                "--l1-entries" => options.l1_entries = number()?,
                "--callers" => options.callers = usize::try_from(number()?)?.max(1),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        if options.disk.is_some() && cfg!(not(feature = "disk")) {
            return Err("--disk needs `--features disk`".into());
        }
        if let Some(tiers) = tiers {
            options.keep(&tiers)?;
        }
        Ok(options)
    }

    /// Removes the tiers that are not named.
    fn keep(&mut self, tiers: &str) -> Result<(), Box<dyn Error>> {
        let tiers: Vec<_> = tiers.split(',').map(str::trim).collect();
        for tier in &tiers {
            match *tier {
                "l1" => {}
                "l2" if self.redis.is_none() => return Err("l2 needs --redis URL".into()),
                "l3" if self.disk.is_none() => return Err("l3 needs --disk DIRECTORY".into()),
                "l2" | "l3" => {}
                other => {
                    return Err(format!("unknown tier `{other}`; help: use l1, l2 or l3").into());
                }
            }
        }
        if !tiers.contains(&"l1") {
            return Err("--tiers does not name l1, which cannot be removed".into());
        }
        self.redis.take_if(|_| !tiers.contains(&"l2"));
        self.disk.take_if(|_| !tiers.contains(&"l3"));
        Ok(())
    }

    /// Returns the keys in order of access.
    pub(crate) fn trace(&self) -> Result<Vec<String>, Box<dyn Error>> {
        match &self.trace {
            Some(file) => {
                let text =
                    std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
                Ok(text.lines().map(str::to_owned).collect())
            }
            None => Ok(zipf()),
        }
    }
}

/// Returns a trace in which the frequency of the n-th key is proportional to 1 / n.
fn zipf() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..ZIPF_ACCESSES)
        .map(|_| (ZIPF_KEYS.powf(random.f64()) as u64).to_string())
        .collect()
}
