//! The vocabulary of the invented tenant. Every domain and address is reserved for documentation.

pub(crate) const TENANT_DOMAINS: &[&str] = &["harbour.example", "mail.harbour.example"];

pub(crate) const OUTSIDE_DOMAINS: &[&str] = &[
    "northwind-paper.example",
    "quince.test",
    "billing.tallow.example",
    "lists.orchard.test",
    "kestrel-freight.example",
    "post.lumen.test",
    "xn--bcher-kva.example",
    "example.com",
    "example.net",
    "example.org",
];

pub(crate) const BAD_DOMAINS: &[&str] = &[
    "harb0ur.example",
    "secure-login.invalid.test",
    "parcel-fee.test",
    "harbour-example.test",
    "refund-desk.example",
];

pub(crate) const PEOPLE: &[(&str, &str)] = &[
    ("Ada Marlowe", "ada.marlowe"),
    ("Bruno Keller", "bruno.keller"),
    ("Chiara D'Amico", "chiara.damico"),
    ("Dmitri Orlov", "dmitri.orlov"),
    ("Eilidh McNair", "eilidh.mcnair"),
    ("Farah Aziz", "farah+invoices"),
    ("Grzegorz Żak", "g.zak"),
    ("Hanna Sjöberg", "hanna.sjoberg"),
    ("Ikeda Sora", "s.ikeda"),
    ("Joana Pinto", "joana.pinto"),
    ("Kwame Boateng", "kwame.boateng"),
    ("Lena Vogt", "lena_vogt"),
    ("No Reply", "no-reply"),
    ("Accounts Payable", "accounts.payable"),
    ("Service Desk", "servicedesk"),
    ("O'Hara, Maeve", "maeve.o'hara"),
];

pub(crate) const SUBJECTS: &[&str] = &[
    "Invoice for October",
    "Re: minutes of the site meeting",
    "Your parcel is waiting",
    "Quote for 40 pallets",
    "RE: FW: Contract renewal",
    "Weekly figures",
    "Welcome to the team",
    "Password expires today",
    "Shift plan, week 47",
    "Out of office",
    "Undeliverable: Shipment papers",
    "New voicemail from reception",
    "Board pack (confidential)",
    "Automatic reply: Holiday",
];

pub(crate) const ODD_SUBJECTS: &[&str] = &[
    "\u{1f389} Welcome aboard, team \u{1f469}\u{200d}\u{1f4bb}!",
    "so-called \"REPORT\", we need it",
    "Files moved to C:\\Users\\Public\\new\\table.txt",
    "Line one\u{2028}line two\u{2029}line three",
    "会議の議事録を共有します",
    "Счёт № 4711 на оплату",
    "Angebot über 12 Stühle – größer, schöner",
    "تحديث الفاتورة",
    "tab\there, bell\u{7} there, null-like: null",
    "</script><b>bold</b> & more",
    "a|b=c|Subject=\\text\\",
    "e\u{301}clair or éclair",
    " leading and trailing ",
    "{\"looks\":\"like json\"}",
];

pub(crate) const FILES: &[(&str, &str, &str)] = &[
    ("invoice-1047.pdf", "pdf", "application/pdf"),
    (
        "figures.xlsx",
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    (
        "minutes, final.docx",
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("image001.png", "png", "image/png"),
    ("~WRD0601.jpg", "jpg", "image/jpeg"),
    ("photo of \"the\" gate.jpg", "jpg", "image/jpeg"),
    ("Übersicht.pdf", "pdf", "application/pdf"),
    ("scan_0001.tif", "tif", "image/tiff"),
    ("shipment.zip", "zip", "application/zip"),
    ("setup.exe", "exe", "application/x-msdownload"),
    ("remittance.html", "html", "text/html"),
    ("calendar.ics", "ics", "text/calendar"),
];

pub(crate) const VIRUSES: &[&str] = &[
    "EICAR-Test-File",
    "Trojan.Invented.7",
    "W97M.Example.Dropper",
    "Phish.HTML.Sample-3",
];

pub(crate) const CIPHERS: &[(&str, &str)] = &[
    ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ("TLSv1.3", "TLS_AES_128_GCM_SHA256"),
    ("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384"),
];

pub(crate) const ROUTES: &[&str] = &[
    "Hosted mailboxes, inbound",
    "Accept and drop messages",
    "Relay for site B",
    "Default outbound",
];

pub(crate) const HOSTS: &[&str] = &[
    "mx1.harbour.example",
    "mx2.northwind-paper.example",
    "inbound.quince.test",
    "relay.lumen.test",
];

pub(crate) const URL_PATHS: &[&str] = &[
    "/login?next=%2Fmail&user=ada",
    "/track/88213?x=1&y=2#top",
    "/a/b/c/verify.php",
    ":8443/office/session?token=abc%20def",
    "/päckchen/gebühr",
    "/",
];
