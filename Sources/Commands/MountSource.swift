import ArgumentParser

/// What `millrace mount` shows: a bucket or prefix, or what a web server has.
enum MountSource: ExpressibleByArgument, Equatable, CustomStringConvertible {
    case s3(SourceURL)
    /// An index where it ends in a slash, else a list of URLs.
    case web(String)

    init?(argument: String) {
        if argument.hasPrefix("http://") || argument.hasPrefix("https://") {
            self = .web(argument)
        } else if let url = SourceURL(argument: argument) {
            self = .s3(url)
        } else {
            return nil
        }
    }

    var description: String {
        switch self {
        case .s3(let url): url.description
        case .web(let url): url
        }
    }
}
