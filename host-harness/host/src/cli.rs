//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use source_common::exit::{Exit, Failure};
use source_runtime::engine;
use tracing::Level;

use crate::command;
use crate::command::fleet::FleetAction;
use crate::command::terminal_size;
#[cfg(feature = "demo")]
use crate::demo::{self, DemoOptions};
use crate::descriptor_limit;
use crate::log;

/// How long to wait at exit for blocking threads, which may be stuck on a pipe or a disk.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
#[command(
    name = "source-host",
    version,
    long_version = concat!(env!("CARGO_PKG_VERSION"), "\nbuilt-in component: mimecast-source ", env!("CARGO_PKG_VERSION")),
    about = "Collects events with a sandboxed source component and delivers them"
)]
#[command(
    after_help = "Exit codes: 0 done; 1 upstream or output failed; 2 usage; 3 `status`: stale, or nothing runs; 77 credentials refused; 78 bad settings file."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Args, Clone, Debug)]
struct LogArgs {
    /// The format of the log
    #[arg(long, global = true, value_enum, default_value_t = log::Format::Text)]
    log_format: log::Format,

    /// Write the log to a file instead of standard error
    #[arg(long, global = true, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Log warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Log each poll as well; -vv logs everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Collect from a built-in simulated tenant; no account needed
    #[cfg(feature = "demo")]
    Demo(DemoOptions),
    /// Collect and deliver
    Run {
        /// The settings file
        config: PathBuf,
        /// Stop when every stream is caught up
        #[arg(long)]
        once: bool,
        /// Read the settings again when one of their files changes, as at SIGHUP
        #[arg(long, conflicts_with = "once")]
        watch_config: bool,
    },
    /// Test the connection, per source and stream, and the outputs
    Check {
        /// The settings file
        config: PathBuf,
        /// Only this source, without the outputs
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// Only this stream, without the outputs
        #[arg(long, value_name = "NAME")]
        stream: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the settings file without the network
    Validate {
        /// The settings file
        config: PathBuf,
    },
    /// Streams, permissions and settings of a component
    Describe {
        /// The component; without it, the built-in one
        component: Option<PathBuf>,
        /// As JSON, with the settings schema
        #[arg(long)]
        json: bool,
        /// Print instead what the sources of this settings file find upstream
        #[arg(long, value_name = "CONFIG", conflicts_with_all = ["component", "json"])]
        online: Option<PathBuf>,
    },
    /// What becomes of each upstream field in the events of the built-in component
    Fields {
        /// The stream; without it, all
        stream: Option<String>,
    },
    /// Settings for API 2.0 in place of those for Mimecast's API 1.0
    Migrate {
        /// The settings file
        config: PathBuf,
    },
    /// Collection status from the state directory
    Status {
        /// The settings file
        config: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// On a terminal: refresh every 2 seconds, until interrupted
        #[arg(long, conflicts_with = "json")]
        watch: bool,
    },
    /// Collect streams again from a time; stop the host first
    Reset {
        /// The settings file
        config: PathBuf,
        /// The source
        #[arg(long, value_name = "NAME")]
        source: String,
        /// Only this stream; may be given several times
        #[arg(long = "stream", value_name = "NAME")]
        streams: Vec<String>,
        /// From when: a time like 2026-11-01T00:00:00Z, or how long ago, like 24h
        #[arg(long, value_name = "TIME")]
        from: String,
    },
    /// The tenants of a fleet: hosts that share them through NATS JetStream
    Fleet {
        #[command(subcommand)]
        command: FleetCommand,
    },
    /// Write the built-in component to a file
    Component {
        /// The file
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// The directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Turn records from standard input into events on standard output
    Normalize {
        /// The stream of the records
        #[arg(long, value_name = "NAME")]
        stream: String,
        /// The format of the events; without it, the component's first
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        /// Settings of the component that shape events, such as {"tenant":"acme"}
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        /// The component; without it, the built-in one
        component: Option<PathBuf>,
    },
}

/// What `fleet` does.
#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Add a tenant
    Add {
        /// The settings file of the hosts
        config: PathBuf,
        /// The file of the tenant, as in `sources_dir`: NAME.toml
        file: PathBuf,
    },
    /// Replace the settings of a tenant; its position is kept
    Change {
        /// The settings file of the hosts
        config: PathBuf,
        /// The file of the tenant, as in `sources_dir`: NAME.toml
        file: PathBuf,
    },
    /// Stop the collection of a tenant; its position is kept
    Pause {
        /// The settings file of the hosts
        config: PathBuf,
        /// The tenant
        name: String,
    },
    /// Collect a paused tenant again
    Resume {
        /// The settings file of the hosts
        config: PathBuf,
        /// The tenant
        name: String,
    },
    /// Remove a tenant with its position
    Remove {
        /// The settings file of the hosts
        config: PathBuf,
        /// The tenant
        name: String,
    },
    /// The names of all tenants
    List {
        /// The settings file of the hosts
        config: PathBuf,
    },
    /// Hosts, leases and the state of tenants
    Status {
        /// The settings file of the hosts
        config: PathBuf,
        /// As JSON, with every tenant
        #[arg(long)]
        json: bool,
    },
    /// Add the tenants of a `sources_dir`, and change those that differ
    Import {
        /// The settings file of the hosts
        config: PathBuf,
        /// The directory with NAME.toml for each tenant
        directory: PathBuf,
        /// The state directory of the host that had them, to continue where it was
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
}

impl FleetCommand {
    fn into_config_and_action(self) -> (PathBuf, FleetAction) {
        match self {
            Self::Add { config, file } => (config, FleetAction::Add(file)),
            Self::Change { config, file } => (config, FleetAction::Change(file)),
            Self::Import {
                config,
                directory,
                state_dir,
            } => {
                let action = FleetAction::Import {
                    directory,
                    state_dir,
                };
                (config, action)
            }
            Self::List { config } => (config, FleetAction::List),
            Self::Pause { config, name } => (config, FleetAction::Pause(name)),
            Self::Remove { config, name } => (config, FleetAction::Remove(name)),
            Self::Resume { config, name } => (config, FleetAction::Resume(name)),
            Self::Status { config, json } => (config, FleetAction::Status { as_json: json }),
        }
    }
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse(); // ends the process with 2 where it is misused
    let log = cli.log.clone();
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            report_failure(&failure, &log);
            failure.exit
        }
    };
    exit.into()
}

/// Reports an error that ends the process: in the log, where that is a file or JSON, and
/// on standard error, unless the JSON log is written there and its levels include errors. A
/// supervisor may show only one of the two.
fn report_failure(failure: &Failure, log: &LogArgs) {
    let is_json = log.log_format == log::Format::Json;
    if is_json || log.log_file.is_some() {
        tracing::error!("{failure}");
    }
    // The log may be what failed to start, and its levels may leave out errors.
    let is_on_stderr = is_json && log.log_file.is_none() && tracing::event_enabled!(Level::ERROR);
    if !is_on_stderr {
        log::write_to_stderr(&failure.to_string());
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let verbosity = log::Verbosity::of(cli.log.quiet, cli.log.verbose);
    log::init(cli.log.log_format, verbosity, cli.log.log_file.as_deref())?;
    descriptor_limit::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(engine::worker_threads())
        .max_blocking_threads(descriptor_limit::FILE_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(dispatch(cli.command));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
    result
}

async fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Check {
            config,
            source,
            stream,
            json,
        } => {
            let filter = command::check::CheckFilter { source, stream };
            command::check::check(&config, &filter, json).await
        }
        Command::Completions { shell } => command::export::completions(Cli::command(), shell),
        Command::Component { output } => command::export::component(&output),
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::demo(options).await,
        Command::Describe {
            online: Some(config),
            ..
        } => command::describe::describe_online(&config).await,
        Command::Describe {
            component, json, ..
        } => command::describe::describe(component.as_deref(), json).await,
        Command::Fields { stream } => command::fields::fields(stream.as_deref()),
        Command::Fleet { command } => {
            let (config, action) = command.into_config_and_action();
            command::fleet::fleet(&config, action).await
        }
        Command::Normalize {
            stream,
            format,
            settings,
            component,
        } => {
            let (format, component) = (format.as_deref(), component.as_deref());
            command::normalize::normalize(&stream, format, settings, component).await
        }
        Command::Man { directory } => command::export::man(Cli::command(), &directory),
        Command::Migrate { config } => command::migrate::migrate(&config),
        Command::Reset {
            config,
            source,
            streams,
            from,
        } => {
            let reset = command::reset::ResetArgs {
                source,
                streams,
                from,
            };
            command::reset::reset(&config, &reset).await
        }
        Command::Run {
            config,
            once,
            watch_config,
        } => command::run::run(&config, once, watch_config).await,
        Command::Status {
            config,
            watch: true,
            ..
        } => {
            if terminal_size().is_none() {
                let reason = "--watch needs a terminal; without it, `status` shows the status once";
                Cli::command().error(ErrorKind::InvalidValue, reason).exit();
            }
            match command::status::watch(&config, terminal_size).await? {}
        }
        Command::Status { config, json, .. } => command::status::status(&config, json),
        Command::Validate { config } => command::validate::validate(&config).await,
    }
}
