//! One function with memory, Redis, a disk and object storage: shows which tier answers each call.
//!
//! `cargo run --release --example tiers`

// Builds the example again if the features of its tiers are not enabled.
#[cfg(not(all(feature = "disk", feature = "objects", feature = "redis")))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = "run --release --example tiers --features disk,objects,redis";
    println!("cargo {arguments}");
    let status = std::process::Command::new(env!("CARGO"))
        .args(arguments.split(' '))
        .status()?;
    std::process::exit(status.code().unwrap_or(1));
}

#[cfg(all(feature = "disk", feature = "objects", feature = "redis"))]
mod places;
#[cfg(all(feature = "disk", feature = "objects", feature = "redis"))]
#[path = "../shared/redis_server.rs"]
mod redis_server;
#[cfg(all(feature = "disk", feature = "objects", feature = "redis"))]
mod stack;

#[cfg(all(feature = "disk", feature = "objects", feature = "redis"))]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    // The second process uses the directory and the Redis of the first one.
    if let (Some(directory), Some(port)) = (arguments.next(), arguments.next()) {
        return stack::after_a_restart(directory.as_ref(), port.parse()?).await;
    }
    let Some(server) = redis_server::RedisServer::start() else {
        return Err("the example needs a Redis server".into());
    };
    let directory = places::Directory::new()?;
    stack::first(directory.path(), server.port()).await?;
    let again = std::process::Command::new(std::env::current_exe()?)
        .arg(directory.path())
        .arg(server.port().to_string())
        .status()?;
    assert!(again.success(), "the second process failed");
    Ok(())
}
