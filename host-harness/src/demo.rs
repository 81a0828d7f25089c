//! `demo`: collect from a simulated tenant on loopback, through the same code
//! path as `run --once`.

use clap::Args;

use crate::exit::{Exit, Failure};

/// How large the simulated tenant is, and where its events go.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// Print the first event of each stream
    #[arg(long)]
    pub show: bool,
}

/// Run the demo.
pub async fn demo(_options: DemoOptions) -> Result<Exit, Failure> {
    std::future::ready(Err(Failure::failed("the simulator is not there yet"))).await
}
