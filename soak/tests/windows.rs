//! Promises to callers of a hot key in four processes, whose value expires, whose source fails, and
//! whose load never ends. Only counts are judged, because tests run on busy machines.

use std::path::PathBuf;

use soak::windows::{Length, Options, run};

#[tokio::test(flavor = "multi_thread")]
async fn hot_key_of_four_processes_keeps_every_promise_that_is_a_count() {
    let options = Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_soak")),
        server: "redis-server".into(),
        length: Length::Short,
    };
    let table = run(&options).await.unwrap();
    println!("{table}");
    assert!(table.holds(), "a promise is broken:\n{table}");
}
