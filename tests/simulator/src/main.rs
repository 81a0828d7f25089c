//! Runs a simulator until its standard input ends, and prints its URLs and credentials on standard
//! output; or writes records of every stream into files.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mimecast_simulator::{Config, EventType, Generate, Simulator, sample_records, streams};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> ExitCode {
    let (config, records) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(problem) => return fail(&format!("{problem}\n\n{USAGE}"), 2),
    };
    let done = match records {
        Some(RecordExport { to, count }) => write_records(&config, &to, count),
        None => run(config).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), 1),
    }
}

/// Where to write records instead of running, and how many.
struct RecordExport {
    to: PathBuf,
    count: u32,
}

/// Divides about `count` records evenly among one file for each stream.
fn write_records(config: &Config, to: &Path, count: u32) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    let streams = streams();
    let each = count.div_ceil(u32::try_from(streams.len()).unwrap_or(u32::MAX));
    for stream in streams {
        let file = std::fs::File::create(to.join(format!("{stream}.ndjson")))?;
        let mut file = io::BufWriter::new(file);
        for record in sample_records(config, stream, each) {
            writeln!(file, "{record}")?;
        }
        file.flush()?;
    }
    Ok(())
}

async fn run(config: Config) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let simulator = Simulator::start(config).await?;
    let line = serde_json::json!({
        "api_url": simulator.api_url(),
        "storage_url": simulator.storage_url(),
        "client_id": simulator.client_id(),
        "client_secret": simulator.client_secret(),
    });
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    let input = end_of_input();
    tokio::select! {
        _ = input => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}

/// Resolves when standard input ends.
fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 1024];
        while matches!(io::stdin().read(&mut ignored), Ok(1..)) {}
        // Nobody waits any more when a signal came first.
        let _ = ended.send(());
    });
    end
}

fn parse(
    mut arguments: impl Iterator<Item = String>,
) -> Result<(Config, Option<RecordExport>), String> {
    let mut config = Config {
        generate: Generate::InBackground,
        ..Config::default()
    };
    let (mut records_to, mut record_count) = (None, None);
    while let Some(flag) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--at-start" => config.generate = Generate::AtStart,
            "--audit-events" => config.audit_events = number(&flag, &value()?)?,
            "--client-id" => config.client_id = value()?,
            "--client-secret" => config.client_secret = value()?,
            "--files-per-page" => config.files_per_page = number(&flag, &value()?)?,
            "--gzip-level" => config.gzip_level = number(&flag, &value()?)?,
            "--huge-file-mib" => config.huge_file_mib = Some(number(&flag, &value()?)?),
            "--log-records" => config.log_records = number(&flag, &value()?)?,
            "--malformed-per-mille" => config.malformed_per_mille = number(&flag, &value()?)?,
            "--no-duplicates" => config.files_listed_twice = false,
            "--no-odd-shapes" => config.odd_shapes = false,
            "--now-ms" => config.now_ms = Some(number(&flag, &value()?)?),
            "--page-records-max" => config.page_records_max = number(&flag, &value()?)?,
            "--pages" => config.pages = number(&flag, &value()?)?,
            "--permissions" => config.permissions = Some(names(&value()?)),
            "--port" => config.api_port = number(&flag, &value()?)?,
            "--quota-calls" => config.batch_quota_calls = number(&flag, &value()?)?,
            "--record-bytes" => config.record_bytes = number(&flag, &value()?)?,
            "--records" => record_count = Some(number(&flag, &value()?)?),
            "--records-per-file" => config.records_per_file = number(&flag, &value()?)?,
            "--records-to" => records_to = Some(PathBuf::from(value()?)),
            "--seed" => config.seed = number(&flag, &value()?)?,
            "--skew-ms" => config.skew_ms = number(&flag, &value()?)?,
            "--storage-port" => config.storage_port = number(&flag, &value()?)?,
            "--types" => config.types = types(&value()?)?,
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    match (records_to, record_count) {
        (Some(to), Some(count)) => Ok((config, Some(RecordExport { to, count }))),
        (None, None) => Ok((config, None)),
        (Some(_), None) => Err("--records-to needs --records beside it".to_owned()),
        (None, Some(_)) => Err("--records needs --records-to beside it".to_owned()),
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{flag} needs a number, not `{text}`"))
}

fn names(text: &str) -> Vec<String> {
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn types(text: &str) -> Result<Vec<EventType>, String> {
    if text == "all" {
        return Ok(EventType::ALL.to_vec());
    }
    let names = text.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| {
            EventType::from_name(name).ok_or_else(|| format!("unknown event type `{name}`"))
        })
        .collect()
}

fn fail(problem: &str, code: u8) -> ExitCode {
    // If standard error is closed, the problem cannot be reported.
    let _ = writeln!(io::stderr(), "mimecast-simulator: {problem}");
    ExitCode::from(code)
}

const USAGE: &str = "\
usage: mimecast-simulator [flags]
  --port N, --storage-port N     ports on 127.0.0.1 (free ones)
  --seed N, --now-ms N, --skew-ms N
  --types A,B                    event types, or `all`; default: the ten of the Cloud Gateway
  --pages N, --files-per-page N, --records-per-file N, --record-bytes N
  --log-records N, --audit-events N, --malformed-per-mille N, --huge-file-mib N, --quota-calls N
  --gzip-level N                 from 0 to 9 (6)
  --client-id TEXT, --client-secret TEXT
  --permissions A,B              the streams that may be read (all)
  --no-odd-shapes, --no-duplicates
  --page-records-max N           on a page of a POST log (500)
  --records-to FOLDER --records N  write about N records, a file for each stream, and end
  --at-start                     generate every file before the line is printed";
