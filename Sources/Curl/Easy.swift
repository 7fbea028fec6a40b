import CCurl

/// One transfer's handle: options, headers, and where its answer goes. It frees itself, and is reused by way of
/// `TransferThread.takeEasy`. Belongs to its thread from there on.
public final class Easy {
    let handle: UnsafeMutableRawPointer
    private var headers: UnsafeMutablePointer<curl_slist>?
    private let errorText: UnsafeMutablePointer<CChar>
    /// Holds the delegate for as long as the transfer runs.
    var delegate: (any TransferDelegate)?
    /// Added to a `TransferThread` and not finished yet.
    public internal(set) var isRunning = false
    /// A handle whose transfer failed or was cut short may still hold a buffer, and then refuses a buffer size: it isn't
    /// used again.
    var hasFailed = false
    /// Addresses that may be reached, and why the last one may not.
    var policy: AddressPolicy?
    var refusal: String?

    /// `curl_global_init` has been called (`TransferThread` does).
    init() {
        handle = curl_easy_init()!
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        prepare()
    }

    deinit {
        precondition(!isRunning, "an Easy was freed while its transfer runs")
        curl_easy_cleanup(handle)
        curl_slist_free_all(headers)
        errorText.deallocate()
    }

    /// Back to no options, keeping what is costly to make.
    func reset() {
        delegate = nil
        policy = nil
        refusal = nil
        curl_easy_reset(handle)
        curl_slist_free_all(headers)
        headers = nil
        prepare()
    }

    private func prepare() {
        errorText[0] = 0
        let context = Unmanaged.passUnretained(self).toOpaque()
        set(CURLOPT_PRIVATE, pointer: context)
        set(CURLOPT_ERRORBUFFER, pointer: UnsafeMutableRawPointer(errorText))
        set(CURLOPT_WRITEDATA, pointer: context)
        set(CURLOPT_HEADERDATA, pointer: context)
        // A failed write callback (any answer but the count) ends the transfer.
        _ = ccurl_set_callback(handle, CURLOPT_WRITEFUNCTION) { bytes, _, count, context in
            let easy = Unmanaged<Easy>.fromOpaque(context!).takeUnretainedValue()
            guard let delegate = easy.delegate else { return 0 }
            return delegate.transfer(easy, body: UnsafeRawBufferPointer(start: bytes, count: count)) ? count : 0
        }
        _ = ccurl_set_callback(handle, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            let easy = Unmanaged<Easy>.fromOpaque(context!).takeUnretainedValue()
            guard let delegate = easy.delegate else { return 0 }
            var line = UnsafeRawBufferPointer(start: bytes, count: size * count)
            while let last = line.last, last == 0x0A || last == 0x0D { line = .init(rebasing: line.dropLast()) }
            delegate.transfer(easy, header: line)
            return size * count
        }
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_TCP_NODELAY, 1)
        set(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        // No Expect: 100-continue, which costs a second where a server doesn't know it.
        addHeader("Expect:")
    }

    public func set(_ option: CURLoption, _ value: Int) {
        expect(ccurl_set_long(handle, option, value), option)
    }

    public func set(_ option: CURLoption, _ value: String) {
        expect(ccurl_set_text(handle, option, value), option)
    }

    public func set(_ option: CURLoption, blob: [UInt8]) {
        expect(blob.withUnsafeBytes { ccurl_set_blob(handle, option, $0.baseAddress, $0.count) }, option)
    }

    func set(_ option: CURLoption, pointer: UnsafeMutableRawPointer?) {
        expect(ccurl_set_pointer(handle, option, pointer), option)
    }

    /// The request's body; curl copies it.
    public func setBody(_ body: [UInt8]) {
        let code = body.withUnsafeBytes {
            ccurl_set_copied_body(handle, $0.baseAddress ?? UnsafeRawPointer(errorText), $0.count)
        }
        expect(code, CURLOPT_COPYPOSTFIELDS)
    }

    /// "Name: value", or "Name:" to leave out a header of curl's own. Line ends are the caller's to refuse.
    public func addHeader(_ line: String) {
        headers = curl_slist_append(headers, line)
    }

    func applyHeaders() { set(CURLOPT_HTTPHEADER, pointer: UnsafeMutableRawPointer(headers)) }

    /// Curl's own words on what went wrong last.
    public func errorMessage(_ code: CURLcode) -> String {
        if let refusal { return refusal }
        return errorText[0] != 0 ? String(cString: errorText) : String(cString: curl_easy_strerror(code))
    }

    public func info(_ info: CURLINFO) -> Int {
        var value = 0
        _ = ccurl_get_long(handle, info, &value)
        return value
    }

    /// Options are ours, not a user's: one that curl does not take is a bug here, or memory ran out.
    private func expect(_ code: CURLcode, _ option: CURLoption) {
        precondition(code == CURLE_OK, "curl refused option \(option.rawValue): \(code.rawValue)")
    }
}

/// Hears of one transfer, on its `TransferThread`.
public protocol TransferDelegate: AnyObject {
    /// A line of the answer's head without its line end. A status line starts a head; an empty line ends it.
    func transfer(_ easy: Easy, header line: UnsafeRawBufferPointer)
    /// The next bytes of the body, valid during the call. False ends the transfer with CURLE_WRITE_ERROR.
    func transfer(_ easy: Easy, body bytes: UnsafeRawBufferPointer) -> Bool
    /// The last call, unless the transfer was removed. The handle may be given back or used again.
    func transfer(_ easy: Easy, finished code: CURLcode)
}
