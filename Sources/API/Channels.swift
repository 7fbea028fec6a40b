import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTPTypes
import NIOSSL

extension HTTPServerBuilder {
    /// HTTP/1.1 with limits, over TLS where there are certificates.
    static func api(_ settings: APISettings, _ certificates: Certificates?) -> HTTPServerBuilder {
        let (readSeconds, writeSeconds) = (settings.readTimeoutSeconds, settings.writeTimeoutSeconds)
        let configuration = HTTP1Channel.Configuration(
            additionalChannelHandlers: [Deadlines(readSeconds: readSeconds, writeSeconds: writeSeconds)],
            httpDecoderConfiguration: .init(
                maxHeaderFieldSize: settings.mostHeaderBytes, maxHeaderListSize: settings.mostHeaderBytes,
                maxHeaderFieldCount: 64))
        return HTTPServerBuilder { responder in
            let plain = HTTP1Channel(responder: responder, configuration: configuration)
            guard let certificates else { return plain }
            return SecureChannel(base: plain, certificates: certificates)
        }
    }
}

/// TLS with the certificate that is newest when a connection comes.
private struct SecureChannel: ServerChildChannel {
    let base: HTTP1Channel
    let certificates: Certificates

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: certificates.current))
        }.flatMap { base.setup(channel: channel, logger: logger) }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async { await base.handle(value: value, logger: logger) }
}

/// Closes a connection whose request, or whose answer, takes too long: one that trickles in byte by byte, or a client
/// that doesn't read. An idle connection counts as one that doesn't send its next request.
private final class Deadlines: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let readSeconds: Int
    private let writeSeconds: Int
    private var timer: Scheduled<Void>?

    init(readSeconds: Int, writeSeconds: Int) {
        self.readSeconds = readSeconds
        self.writeSeconds = writeSeconds
    }

    func handlerAdded(context: ChannelHandlerContext) { allow(readSeconds, context) }
    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .end = unwrapInboundIn(data) { allow(writeSeconds, context) }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let isLast = if case .end = unwrapOutboundIn(data) { true } else { false }
        context.write(data, promise: promise)
        if isLast { allow(readSeconds, context) }
    }

    private func allow(_ seconds: Int, _ context: ChannelHandlerContext) {
        timer?.cancel()
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: .seconds(Int64(seconds))) { channel.close(promise: nil) }
    }
}
