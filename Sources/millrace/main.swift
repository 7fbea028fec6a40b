import Commands

MillraceCommand.start()
