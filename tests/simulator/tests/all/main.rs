//! The simulator as its users meet it: over HTTP, and through its ledger.

#[cfg(test)]
mod client;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod program;
