//! Cached functions without the attribute: each is created at run time from a name and a policy.

use std::collections::HashMap;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Error, Function, Level};

/// Creates functions. Their policies could come from a file, for example.
fn functions() -> Result<HashMap<&'static str, Function<String>>, Error> {
    [("reports::daily", 3600), ("reports::live", 5)]
        .into_iter()
        .map(|(name, seconds)| {
            let function = Function::builder(name)
                .ttl([
                    (Level::L1, Duration::from_secs(seconds)),
                    (Level::L2, Duration::from_secs(10 * seconds)),
                ])
                .version(2)
                .cache_if(|report: &String| !report.is_empty())
                .build()?;
            Ok((name, function))
        })
        .collect()
}

async fn write_report(name: &str, day: u32) -> Result<String, std::io::Error> {
    println!("  (writing {name} of day {day})");
    Ok(format!("{name} of day {day}: all is well"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let functions = functions()?;
    let daily = &functions["reports::daily"];
    for _ in 0..2 {
        println!(
            "{}",
            daily
                .get_or_load((12,), || write_report("daily", 12))
                .await?
        );
    }

    let entry = daily.entry((12,));
    println!("in the cache: {:?}", entry.peek().await);
    entry
        .put("daily of day 12: corrected by hand".into())
        .await?;
    println!("after put: {:?}", entry.peek().await);
    println!(
        "after refresh: {}",
        entry.refresh(|| write_report("daily", 12)).await?
    );
    entry.invalidate().await?;
    println!("after invalidate: {:?}", entry.peek().await);

    daily.invalidate_all().await?;
    println!("\n{}", CacheRuntime::current().stats());
    Ok(())
}
