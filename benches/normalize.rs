//! The hot path: one upstream line to one event, as a whole and by stages.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark fails fast, and is no library"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mimecast_source::decode::json::scan_object;
use mimecast_source::normalize::{Format, Normalizer, Options};
use mimecast_source::record::Parser;
use mimecast_source::stream::Stream;
use mimecast_source::time::Timestamp;

#[path = "measure.rs"]
mod measure;

use measure::{Cost, cheapest_run, is_smoke_test, measure_cpu_time, print_header, print_row};

const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);

/// Records of the usual size, 820 bytes or so, names in the upstream's order.
#[rustfmt::skip]
const RECORDS: &[(&str, Stream, &str)] = &[
    ("receipt", Stream::SiemReceipt, concat!(
        r#"{"_offset":1048576,"_partition":137,"accountId":"CTEST1A1","action":"Acc","#,
        r#""aggregateId":"Qm9ndXMtYWdncmVnYXRl_1770091506","direction":"Inbound","#,
        r#""messageId":"<20260203040506.1A2B3C4D5E@mail.example.com>","numberAttachments":"1","#,
        r#""processingId":"UHJvY2Vzc2luZy1pZC1mb3ItdGVzdGluZy1vbmx5LTAwMQ_1770091506","#,
        r#""receiptErrors":null,"recipients":"bob.archer@corp.example.test","rejectionCode":null,"#,
        r#""rejectionInfo":null,"rejectionType":null,"senderEnvelope":"ann.li@example.com","#,
        r#""senderHeader":"ann.li@example.com","senderIp":"198.51.100.7","#,
        r#""spamDetectionLevel":"0","spamInfo":"[]","spamProcessingDetail":null,"spamScore":"2","#,
        r#""subject":"Quarterly figures for the northern region","subtype":"Acc","#,
        r#""timestamp":1770091506789,"tlsCipher":"TLS_AES_256_GCM_SHA384","tlsVersion":"TLSv1.3","#,
        r#""type":"receipt","virusFound":null}"#)),
    ("receipt with checks", Stream::SiemReceipt, concat!(
        r#"{"_offset":1048576,"_partition":137,"accountId":"CTEST1A1","action":"Acc","#,
        r#""aggregateId":"Qm9ndXMtYWdncmVnYXRl_1770091506","direction":"Inbound","#,
        r#""messageId":"<20260203040506.1A2B3C4D5E@mail.example.com>","numberAttachments":"1","#,
        r#""processingId":"UHJvY2Vzc2luZy1pZC1mb3ItdGVzdGluZy1vbmx5LTAwMQ_1770091506","#,
        r#""recipients":"bob.archer@corp.example.test","senderEnvelope":"ann.li@example.com","#,
        r#""senderHeader":"ann.li@example.com","senderIp":"198.51.100.7","#,
        r#""spamDetectionLevel":"0","spamProcessingDetail":"{\"dkim\":{\"allow\":true,\"info\":"#,
        r#"\"ALLOW\"},\"dmarc\":{\"allow\":true,\"info\":\"ALLOW\"},\"spf\":{\"allow\":true,"#,
        r#"\"info\":\"ALLOW\"},\"greyEmail\":false}","spamScore":"2","#,
        r#""subject":"Quarterly figures for the northern region","subtype":"Acc","#,
        r#""timestamp":1770091506789,"tlsCipher":"TLS_AES_256_GCM_SHA384","tlsVersion":"TLSv1.3","#,
        r#""type":"receipt"}"#)),
    ("process", Stream::SiemProcess, concat!(
        r#"{"_offset":1048577,"_partition":137,"accountId":"CTEST1A1","action":"Acc","#,
        r#""aggregateId":"Qm9ndXMtYWdncmVnYXRl_1770091506","attachments":"\"Quarterly figures "#,
        r#"north.xlsx\", \"Quarterly figures south.xlsx\", \"Summary of the quarter.docx\", "#,
        r#"\"image001.png\", \"image002.png\", \"Notes from the meeting in spring.pdf\"","#,
        r#""emailSize":"172360","holdReason":null,"#,
        r#""messageId":"<20260203040506.1A2B3C4D5E@mail.example.com>","numberAttachments":"6","#,
        r#""processingId":"UHJvY2Vzc2luZy1pZC1mb3ItdGVzdGluZy1vbmx5LTAwMQ_1770091506","#,
        r#""senderEnvelope":"ann.li@example.com","#,
        r#""subject":"Quarterly figures for the northern and southern regions, with the summary "#,
        r#"and the notes from the meeting in spring","subtype":"Acc","#,
        r#""timestamp":1770091506789,"totalSizeAttachments":"115300","type":"process"}"#)),
    ("delivery", Stream::SiemDelivery, concat!(
        r#"{"Hostname":"mx1.corp.example.test","_offset":1048578,"_partition":137,"#,
        r#""accountId":"CTEST1A1","aggregateId":"Qm9ndXMtYWdncmVnYXRl_1770091506","#,
        r#""delivered":"true","deliveryAttempts":"1","deliveryErrors":null,"deliveryTime":"1633","#,
        r#""destinationIp":"203.0.113.9","direction":"Inbound","emailSize":"17236","#,
        r#""messageId":"<20260203040506.1A2B3C4D5E@mail.example.com>","numberAttachments":"1","#,
        r#""processingId":"UHJvY2Vzc2luZy1pZC1mb3ItdGVzdGluZy1vbmx5LTAwMQ_1770091506","#,
        r#""recipients":"bob.archer@corp.example.test","rejectionCode":null,"rejectionInfo":null,"#,
        r#""rejectionType":null,"route":"Inbound Routing Definition","#,
        r#""senderEnvelope":"ann.li@example.com","#,
        r#""subject":"Quarterly figures for the northern region","subtype":"true","#,
        r#""timestamp":1770091506789,"tlsCipher":"TLS_AES_256_GCM_SHA384","tlsUsed":"Yes","#,
        r#""tlsVersion":"TLSv1.3","totalSizeAttachments":"1153","type":"delivery"}"#)),
    ("url protect", Stream::SiemUrlProtect, concat!(
        r#"{"_offset":1048579,"_partition":137,"accountId":"CTEST1A1","action":"Block","#,
        r#""aggregateId":"Qm9ndXMtYWdncmVnYXRl_1770091506","analysis":"null","#,
        r#""blockReason":"malicious","messageId":"<20260203040506.1A2B3C4D5E@mail.example.com>","#,
        r#""processingId":"req-0123456789abcdef0123456789abcdef","#,
        r#""recipients":"bob.archer@corp.example.test","route":"inbound","#,
        r#""senderDomain":"example.com","senderEnvelope":"ann.li@example.com","#,
        r#""sourceIp":"203.0.113.77","subject":"Your parcel is waiting","subtype":"Block","#,
        r#""timestamp":1770091506789,"type":"url protect","#,
        r#""url":"https://login.example.test/session/verify.html?user=bob&token=0123456789abcdef","#,
        r#""urlCategory":"Phishing & Fraud"}"#)),
    ("audit", Stream::Audit, concat!(
        r#"{"auditType":"User Logged On","category":"authentication_logs","#,
        r#""eventInfo":"Successful authentication for ann.li@example.com <Li, Ann>, Date: "#,
        r#"2026-02-03, Time: 04:05:06 GMT, IP: 198.51.100.7, Application: Administration "#,
        r#"Console, Method: Cloud","eventTime":"2026-02-03T04:05:06+0000","#,
        r#""id":"eNoTestAuditIdentifier0001","user":"ann.li@example.com"}"#)),
];

fn whole_records(c: &mut Criterion) {
    print_header();
    for (format, format_name) in [(Format::Ecs, "ecs"), (Format::Raw, "raw")] {
        for (name, stream, line) in RECORDS {
            let mut group = c.benchmark_group(format!("record to {format_name}"));
            group.throughput(Throughput::Bytes(u64::try_from(line.len()).unwrap_or(0)));
            let mut parser = Parser::new();
            let mut normalizer = Normalizer::new(format, Options::default());
            let mut out = String::with_capacity(1 << 20);
            let mut normalize_one = || {
                if out.len() > 1_000_000 {
                    out.clear();
                }
                let record = parser.parse(*stream, black_box(line)).unwrap();
                let id = record.id().to_event_id(1, None);
                normalizer.write(&record, &id, NOW, &mut out);
            };
            group.bench_function(*name, |b| b.iter(&mut normalize_one));
            group.finish();
            report(format_name, name, line.len(), normalize_one);
        }
    }
}

/// Prints a row of the table: the cheapest of five runs.
fn report(format: &str, name: &str, bytes: usize, mut normalize_one: impl FnMut()) {
    let (runs, events) = if is_smoke_test() {
        (1, 100)
    } else {
        (5, 50_000)
    };
    let run = || measure_cpu_time(|| (0..events).for_each(|_| normalize_one()));
    let cost = Cost {
        events,
        bytes: bytes * events,
        time: cheapest_run(runs, run, |time| *time),
    };
    let note = format!("{bytes} bytes");
    print_row(
        &format!("a record, native: {name} to {format}"),
        cost,
        &note,
    );
}

fn stages(c: &mut Criterion) {
    let (_, stream, line) = RECORDS.first().unwrap();
    let mut group = c.benchmark_group("stages of a receipt");
    let mut members = Vec::new();
    group.bench_function("scan", |b| {
        b.iter(|| scan_object(black_box(line), &mut members).is_ok());
    });
    let mut parser = Parser::new();
    group.bench_function("parse", |b| {
        b.iter(|| parser.parse(*stream, black_box(line)).is_ok());
    });
    let record = parser.parse(*stream, line).unwrap();
    let id = record.id().to_event_id(1, None);
    group.bench_function("id", |b| b.iter(|| black_box(&record).id()));
    let mut normalizer = Normalizer::new(Format::Ecs, Options::default());
    let mut out = String::with_capacity(1 << 16);
    group.bench_function("write", |b| {
        b.iter_batched(
            || (),
            |()| {
                out.clear();
                normalizer.write(black_box(&record), &id, NOW, &mut out)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group! { name = benches; config = config(); targets = stages, whole_records }
criterion_main!(benches);
